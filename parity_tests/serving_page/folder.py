"""包里的网页：几个文件，与供出它们时的 CSP。"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "tinygrad_llm" / "common" / "serving" / "page"
PAGE = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in (".html", ".js", ".css")}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

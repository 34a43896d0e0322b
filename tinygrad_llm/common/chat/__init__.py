"""对话：角色变成 id 与损失掩码，文字永远变不成特殊 token。

流入：JSONL 里的对话；流出：可以训练的 id 与掩码，或供生成的提示。
依次读 ``conversation.py``、``templates.py``、``render.py``、``loading.py``、``coloured.py``；
与模型对话见 ``dialogue.py`` 与 ``console.py``。
"""

from tinygrad_llm.common.chat.conversation import Conversation, Message, Role
from tinygrad_llm.common.chat.render import (
    ConversationTooLongError,
    Rendered,
    Segment,
    TrainOn,
    render,
    render_prompt,
)
from tinygrad_llm.common.chat.templates import CHAT_SPECIALS, TEMPLATES, Special, Template, find_template

__all__ = [
    "CHAT_SPECIALS",
    "TEMPLATES",
    "Conversation",
    "ConversationTooLongError",
    "Message",
    "Rendered",
    "Role",
    "Segment",
    "Special",
    "Template",
    "TrainOn",
    "find_template",
    "render",
    "render_prompt",
]

"""指令用的词表与说法：反义词、复数与量词、几类常见的东西、各题型的问法。

流入：无；流出：若干多行字符串。下一个文件：``tasks.py``。
"""

__all__ = ["ANTONYMS", "CLAUSES", "GROUPS", "PLURALS", "PROMPTS", "SYLLABLES"]

ANTONYMS = {
    "en": """
big small | hot cold | fast slow | high low | old new | hard soft | wet dry | light dark | full empty | happy sad
clean dirty | strong weak | long short | early late | open closed | loud quiet | rich poor | thick thin | near far
good bad | deep shallow | sweet sour | brave cowardly | rough smooth | heavy light | wide narrow | cheap expensive
""",
    "zh": """
大 小 | 高 低 | 冷 热 | 快 慢 | 长 短 | 新 旧 | 软 硬 | 干 湿 | 明 暗 | 满 空 | 轻 重 | 远 近 | 早 晚 | 多 少 | 粗 细
厚 薄 | 强 弱 | 真 假 | 胖 瘦 | 宽 窄 | 深 浅 | 香 臭 | 开 关 | 进 退 | 好 坏 | 左 右 | 上 下 | 前 后 | 里 外 | 买 卖
""",
}

PLURALS = """
cup cups | box boxes | baby babies | leaf leaves | mouse mice | foot feet | child children | dish dishes | city cities
tooth teeth | goose geese | knife knives | man men | woman women | berry berries | bus buses | watch watches | fox foxes
key keys | toy toys | wolf wolves | tree trees | book books | lady ladies | brush brushes | glass glasses | sheep sheep
"""

GROUPS = {
    "en": """
fruits | apple pear plum fig lemon cherry peach banana grape melon
animals | cat dog goat hen duck horse lion mouse owl frog
colours | red blue green yellow white black purple orange brown pink
tools | hammer saw spade rake axe nail drill file brush chisel
birds | owl robin crow swan goose hawk wren dove stork eagle
clothes | hat coat scarf shirt sock glove boot belt dress cap
""",
    "zh": """
水果 | 苹果 梨子 李子 桃子 橘子 葡萄 西瓜 香蕉 石榴 樱桃
动物 | 猫 狗 羊 马 牛 兔子 老虎 狮子 猴子 大象
颜色 | 红色 黄色 蓝色 绿色 白色 黑色 紫色 灰色 橙色 粉色
蔬菜 | 白菜 萝卜 黄瓜 茄子 土豆 南瓜 菠菜 豆角 冬瓜 芹菜
乐器 | 笛子 二胡 琵琶 古筝 口琴 小鼓 铜锣 唢呐 钢琴 吉他
文具 | 铅笔 橡皮 尺子 本子 毛笔 圆规 书包 胶水 剪刀 墨水
""",
}

SYLLABLES = {
    "en": """
ba be bo da de do fa fi ga go ka ki la le lo ma me mi na ne no pa pe po ra re ri sa se so ta te ti to va vi wa za
""",
    "zh": """
山 水 火 木 土 石 云 雨 风 雪 花 草 鸟 鱼 虫 马 牛 羊 日 月 星 天 地 人 口 手 足 门 米 竹 春 夏 秋 冬 红 黄 蓝 白
""",
}

CLAUSES = {  # 写句子用：英文是名词之后的词，中文是名词之后的字，按长度取用
    "en": """
sleeps | sings | waits | falls
sleeps well | waits outside | looks old | stands here
sleeps all day | stands near us | looks very old | belongs to me
waits behind my house | makes everybody very happy | stands under our tree
waits for its best friend | looks quite small and old today
""",
    "zh": """
来了 | 很大 | 不见 | 真好
不见了 | 真好看 | 在这里 | 我喜欢
在我家里 | 人人喜欢 | 找不到了 | 放在桌上
大家都喜欢 | 不知去哪里 | 是我送你的 | 放在大树下
""",
}

_PROMPTS_EN = """
@reverse.1
Write these letters backwards: {text}
Reverse the letters: {text}
@reverse
Write "{text}" backwards.
Spell "{text}" from the last letter to the first.
@first
What is the first letter of "{text}"?
@last
What is the last letter of "{text}"?
@length
How many letters does "{text}" have?
Count the letters in "{text}".
@letter
How many times does the letter "{letter}" occur in "{text}"?
@antonym
Write the opposites: {text}
Give the opposite of each word: {text}
@plural
Write the plural: {text}
Give the plural of each word: {text}
@add
{a} + {b} =
What is {a} plus {b}?
{name} has {a} {goods} and gets {b} more. How many {goods} does {name} have now?
@subtract
{a} - {b} =
What is {a} minus {b}?
{name} has {a} {goods} and gives away {b}. How many {goods} are left?
@multiply
{a} x {b} =
What is {a} times {b}?
@larger
Which number is larger, {a} or {b}?
@sort
Sort from small to large: {text}
Put these numbers in order, smallest first: {text}
@alphabet
Sort by the alphabet: {text}
@next
What comes next: {text}, ...
Continue with one number: {text}, ...
@words
Write one sentence of {n} words with "{noun}".
Write a sentence of exactly {n} words that contains "{noun}".
@bullets
List {n} {group}, but not "{except}". Begin each line with "- ".
@upper
Write in capital letters: {text}
@copy
Copy exactly: {text}
Repeat these words: {text}
@numeral
Write {a} in words.
@digits
Write "{a}" in digits.
@json
{facts} Write this as JSON with the keys {keys}.
Give me JSON with the keys {keys}. {facts}
"""

_PROMPTS_ZH = """
@reverse.1
把这几个字倒过来写：{text}
@reverse
把“{text}”倒过来写。
从最后一个字写到第一个字：{text}
@first
“{text}”的第一个字是什么？
@last
“{text}”的最后一个字是什么？
@length
“{text}”一共有几个字？用数字回答。
@letter
“{letter}”字在“{text}”里出现了几次？用数字回答。
@antonym
写出反义词：{text}
给每个字写一个反义词：{text}
@plural
填上量词：{text}
@add
{a} + {b} =
{a}加{b}等于几？
{name}有{a}个{goods}，又得到{b}个，现在一共有几个{goods}？
@subtract
{a} - {b} =
{a}减{b}等于几？
{name}有{a}个{goods}，送给别人{b}个，还剩几个{goods}？
@multiply
{a} × {b} =
{a}乘{b}等于几？
@larger
{a}和{b}哪个大？
@sort
从小到大排列：{text}
把这些数按从小到大的次序写出来：{text}
@next
下一个数是几：{text}，……
接着写一个数：{text}，……
@words
用“{noun}”写一句话，正好{n}个字。
写一句正好{n}个字的话，里面要有“{noun}”。
@bullets
列出{n}种{group}，不要写“{except}”。每行以“- ”开头。
@wrap
把下面的话放进【】里：{text}
@copy
照抄一遍：{text}
原样重复这句话：{text}
@numeral
把{a}写成汉字。
@digits
把“{a}”写成数字。
@json
{facts}请写成JSON，键是{keys}。
写一个JSON，键是{keys}。{facts}
"""

PROMPTS = {"en": _PROMPTS_EN, "zh": _PROMPTS_ZH}
"""各题型的问法。"""

"""带标签的文字用的说法：主题、情感、垃圾信息，每个标签一组句子。

流入：无；流出：``PHRASES``。下一个文件：``labelled.py``。
"""

__all__ = ["BEASTS", "DAYS", "PHRASES"]

PHRASES = {
    "en": """
@topic.animals
{name}'s {pet} [sleeps|hides] under the {thing} [all day|every night].
The {pet} in {town} [has not eaten since yesterday|has grown fat over the winter].
[Feed|Brush] the {pet} twice a day, said {name}, and keep its [cage|straw|bed] clean.
A {pet} chased a {pet2} across the yard of {name}.
@topic.cooking
{name} [stirs|tastes] the pot and adds [a pinch of salt|some butter] to the {food}.
For {food}, {name} [chops two onions|heats the oven] and [boils some water|beats an egg].
The recipe for {food} that {friend} wrote down needs [flour, milk and sugar|an hour in the oven].
{friend} burned the {food}, so {name} [fried some eggs|sliced the bread] instead.
@topic.sports
{name} [scored the winning goal|ran the last lap] and beat {friend} by [a second|one point].
The team from {town} trains [twice a week|before every match], and {name} is the captain.
{friend} [threw|kicked] the ball to {name}, and the crowd in {town} cheered.
After the match, {name} and {friend} [shook hands|stretched their legs].
@topic.weather
[Heavy rain|Thick fog|A cold wind] is expected in {town} on {day}.
The storm over {town} [broke two trees|brought hail] on {day}, reports {name}.
{day} will be [sunny|cloudy] and warm in {town}, with [a light breeze|some clouds] later.
Snow fell on {town} all {day}, and {name} measured [ten|twenty] degrees below zero.
@topic.school
{name} [forgot the homework|passed the spelling test] on {day}.
The teacher asked {friend} to [read page ten|come to the blackboard] in the lesson on {day}.
In class {name} [learned the times table|wrote an essay] about {town}.
{friend} and {name} share a desk and [a pencil case|one textbook].
@topic.travel
The train from {town} to {town2} leaves on {day} at noon, platform two.
{name} packed [a suitcase|a tent] and booked a [room|ticket] in {town}.
On the journey to {town2}, {friend} [lost the passport|missed the ferry].
Tourists from {town} [visit the castle|stay at the inn] every {day}.
@topic.music
{name} [plays the violin|sings in the choir] every {day}.
The concert in {town} began with a [slow waltz|short song] by {friend}.
{friend} [tuned the guitar|practised the scales] while {name} beat the drum.
The orchestra of {town} needs a new [trumpet|cello] player, and {name} knows every tune.
@topic.money
{name} paid [nine|twelve] coins for the {thing} and [saved the rest|asked for the change].
The bank in {town} [raised the interest|lent {friend} some money] on {day}.
{friend} sold the old {thing} at a good price and [made a profit|paid all debts].
Prices in {town} went up again, so {name} [counted every coin|bought less].
@sentiment.positive
[I really love|I am so glad about] the {thing} that {name} gave me. [It works perfectly.|It is the best one ever.]
The {food} in {town} tasted [delicious|wonderful], and {name} was [kind|very friendly].
What a lovely {day}! {name} and I [laughed|danced] at the {food} stall.
The {thing} is [beautiful and strong|a real joy], not at all like the broken one that {friend} has.
I feared that the trip to {town} with {name} would be boring, but [it was great fun|I enjoyed every minute].
{friend} was right: the {thing} is [worth every coin|simply excellent].
@sentiment.negative
[I hate|I am tired of] the {thing} that {name} gave me. [It broke at once.|It never works.]
The {food} in {town} tasted [stale and salty|awful], and {name} was [rude|very unfriendly].
What a terrible {day}! {name} and I [waited for hours|got lost] at the {food} stall.
The {thing} is [ugly and weak|a real disappointment], not at all like the fine one that {friend} has.
I hoped that the trip to {town} with {name} would be fun, but [it was dreadful|I was bored every minute].
{friend} was wrong: the {thing} is [a waste of money|simply useless].
@spam.spam
[Congratulations|Dear winner], {name}! You have won a [free|golden] {thing}. [Click now|Reply at once] to claim it!
A [cheap|free] {thing} for everyone, only today! [Buy now|Order now], {name}, and save ninety percent!
{name}, your account in {town} is blocked. Send your [password|bank number] [today|at once]!
Earn {number} coins a day from home! No work! [Call now|Write now], {name}!
[Last chance|Hurry], {name}! The magic {thing} makes you [rich|thin] in {number} days!
@spam.ham
Dear {name}, are you free on {day}? {friend} and I are cooking {food}.
{name}, please bring back my {thing} on {day}. Thanks, {friend}
Hello {name}, I won the prize at the fair in {town}! I will tell you all about it. {friend}
{name}, the {thing} you ordered has arrived. You can pick it up at the shop in {town} on {day}.
Hi {name}, I forgot my password for the library in {town}. Can you help me on {day}? {friend}
Dear {name}, the train to {town} is late. I shall be there on {day}. {friend}
""",
    "zh": """
@topic.动物
{name}家的{pet}[整天|一到晚上就]趴在{thing}旁边[打盹|不动]。
{town}有只{pet}，[这两天不爱吃东西|一冬天养得圆滚滚的]。
{name}说，{pet}一天要喂两次，[窝|笼子]也要常打扫。
一只{pet}追着{pet2}，在{name}家的院子里跑了好几圈。
@topic.烹饪
{name}尝了尝{food}，又[撒了一点儿盐|淋了一勺香油]。
做{food}，{name}先[切葱花|烧开水]，再[打一个鸡蛋|下锅翻炒]。
{friend}抄来的{food}做法上写着：[小火炖一个钟头|面粉、糖和牛奶各一碗]。
{friend}把{food}烧煳了，{name}只好[另炒一盘菜|重新和面]。
@topic.体育
{name}[踢进了制胜的一球|跑完了最后一圈]，以[一秒|一分]之差赢了{friend}。
{town}队[每星期训练两次|赛前天天加练]，队长是{name}。
{friend}把球[传|扔]给{name}，{town}的观众一片欢呼。
比赛结束，{name}和{friend}[握了握手|一起压腿放松]。
@topic.天气
{day}{town}有[大雨|浓雾|大风]，{name}提醒大家[带伞|添衣]。
{day}{town}上空的雷雨[刮倒了两棵树|带来了冰雹]，{name}都记了下来。
{town}{day}[晴|多云]，气温回升，{name}说[午后有微风|傍晚转阴]。
{day}{town}下了一整天的雪，{name}量到[零下十度|零下五度]。
@topic.学校
{day}{name}[忘了交作业|听写得了满分]。
{day}上课时，老师叫{friend}[读课文|到黑板前做题]。
{name}在班上[背会了乘法口诀|写了一篇作文]，题目是{town}。
{friend}和{name}是同桌，[共用一本课本|常常借橡皮]。
@topic.旅行
{day}从{town}开往{town2}的火车中午发车，{name}已经到了站台。
{name}收拾好[行李箱|帐篷]，订了{town}的[客房|船票]。
去{town2}的路上，{friend}[丢了车票|误了渡船]。
{town}来的游客，每逢{day}都[参观古塔|住进客栈]，{name}就是导游。
@topic.音乐
每逢{day}，{name}都要[练二胡|去合唱团]。
{town}的音乐会开场是{friend}演奏的[一支慢曲|一首小调]。
{friend}[调着琴弦|练着音阶]，{name}在一旁打鼓。
{town}的乐队缺一个[吹笛子|弹琵琶]的，{name}什么曲子都会。
@topic.买卖
{name}花[九|十二]个铜板买了{thing}，[剩下的存了起来|还等着找零]。
{day}{town}的钱庄[涨了利钱|借给{friend}一笔钱]。
{friend}把旧{thing}卖了个好价钱，[赚了一笔|还清了债]。
{town}的物价又涨了，{name}[一个铜板一个铜板地数|只好少买些]。
@sentiment.正面
{name}送的{thing}[我太喜欢了|真让人开心]，[好用极了|比什么都好]。
{town}的{food}[好吃得很|真香]，{name}待人也[热情|和气]。
{day}过得真痛快！我和{name}[笑个不停|玩得尽兴]，还吃了{food}。
这{thing}[又结实又漂亮|真讨人喜欢]，不像{friend}的那个，早就坏了。
本来担心跟{name}去{town}会没意思，没想到[好玩极了|一点儿也不闷]。
{friend}说得没错，这{thing}[买得真值|真是太好了]。
@sentiment.负面
{name}送的{thing}[我一点儿也不喜欢|真让人泄气]，[一用就坏|没一回好使]。
{town}的{food}[又冷又咸|难吃得很]，{name}待人也[冷淡|粗鲁]。
{day}过得真糟糕！我和{name}[白等了半天|迷了路]，连{food}也没吃上。
这{thing}[又脆又难看|真让人失望]，不像{friend}的那个，至今还好好的。
本来以为跟{name}去{town}会很好玩，没想到[无聊透了|扫兴得很]。
{friend}说错了，这{thing}[纯属浪费钱|一点儿用也没有]。
@spam.垃圾
[恭喜|好消息]！{name}，您中了[大奖|头奖]{thing}，[马上点击|立即回复]领取！
{thing}[清仓|跳楼]大甩卖，只限今天！{name}，[马上下单|赶快抢购]，一折起！
{name}，您在{town}的账户已被冻结，请[立即|马上]把[密码|卡号]发过来！
足不出户，一天净赚{number}个铜板！{name}，[快来加入|马上报名]！
[最后一天|机会难得]！{name}，神奇{thing}让您{number}天[变富|变瘦]！
@spam.正常
{name}，{day}有空吗？我和{friend}打算做{food}，一起来吧。
{name}，{day}请把{thing}还给我，谢谢。{friend}
{name}，我在{town}的集市上中了奖！见面再细说。{friend}
{name}，您订的{thing}到了，{day}可以来{town}的铺子里取。
{name}，我忘了{town}图书馆的密码，{day}能帮我看看吗？{friend}
{name}，去{town}的火车晚点了，我{day}才能到。{friend}
""",
}

DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "zh": "星期一 星期二 星期三 星期四 星期五 星期六 星期天",
}

BEASTS = {
    "en": "cat dog goat rabbit mouse pony lamb goose hen hedgehog duck",
    "zh": "花猫 黄狗 山羊 兔子 母鸡 鸭子 大鹅 刺猬 小羊 小白鼠",
}

"""英文世界的词表：人名、地名、职业、物件、地点等，每行一项，竖线分列。

流入：无；流出：若干多行字符串，由 ``lexicon.py`` 读成元组。改动任何一行都会改变数据，须同时增大 ``VERSION``。
"""

__all__ = [
    "ANIMALS",
    "BOYS",
    "COLOURS",
    "DIRECTIONS",
    "FEARS",
    "FESTIVALS",
    "FOLK",
    "FOODS",
    "GIRLS",
    "GOODIES",
    "GOODS",
    "HIDEOUTS",
    "HOBBIES",
    "JOBS",
    "LANDMARKS",
    "LANDS",
    "NOISES",
    "NUMBERS",
    "PETS",
    "PLACES",
    "PRONOUNS",
    "TENS",
    "THINGS",
    "TOWNS",
    "TRAITS",
]

GIRLS = """
Mara Ida Nell Tess Ruth Wren Lotte Hazel Orla Petra Clara Edith Greta Hilda Iris Kaia Linnea Maeve Nora Olive Pia
Rosa Signe Thea Una Vera Willa Yara Zelda Ada Bea Cora Dora Elsa
"""

BOYS = """
Finn Otto Jonas Emil Hugo Leo Milo Ned Oscar Pavel Quinn Rolf Sam Tobin Ulf Viktor Walter Anton Bruno Casper Erik
Felix Gus Henrik Ivo Jasper Karl Lars Magnus Nils Oren Rufus Stig Theo
"""

TOWNS = "Lindholm Oster Millbrook Farrow Harken Tolby Wexley Brindle Amberly Castor Dunmere Elvick"

LANDMARKS = """
clock tower
stone lion
old lighthouse
round chapel
white windmill
glass house
broken castle
tall chimney
marble fountain
wooden theatre
"""

LANDS = """
beside a deep lake
on a green hill
next to a pine forest
at the edge of the sea
in a narrow valley
on a river island
"""

GOODS = """
honey
blue pottery
cheese
apples
paper
bells
wool
smoked fish
salt
lanterns
"""

# 职业 | 会什么（动词原形） | 能修东西 m、能照料动物 h
JOBS = """
baker | bake bread |
miller | grind flour |
blacksmith | shape iron | m
tailor | sew a coat | m
doctor | tie a bandage | h
teacher | write with a quill |
gardener | graft a rose |
fisher | cast a net |
carpenter | carve wood | m
potter | make a clay bowl | m
librarian | bind old pages | m
letter carrier | read a map |
clockmaker | wind a clock | m
shoemaker | stitch leather | m
weaver | weave a ribbon | m
cook | make soup |
beekeeper | keep bees | h
shepherd | whistle to sheep | h
painter | mix colours |
vet | calm an animal | h
ferry captain | steer a boat |
toymaker | make a wooden top | m
farmer | milk a cow | h
fiddler | play the fiddle |
"""

FOODS = """
plum cake
onion soup
honey bread
cherry pie
roast corn
barley porridge
cheese toast
apple pudding
fried fish
mushroom stew
pancakes
pea soup
nut cookies
baked potatoes
rice pudding
pear jam
"""

# 单数 | 复数
GOODIES = """
apple | apples
pear | pears
plum | plums
egg | eggs
bun | buns
carrot | carrots
onion | onions
lemon | lemons
fig | figs
cookie | cookies
peach | peaches
walnut | walnuts
"""

COLOURS = "red blue green yellow white black purple orange brown grey silver pink"

PETS = """
tortoise
rabbit
cat
dog
goat
hen
duck
parrot
mouse
pony
goose
hedgehog
lamb
owl
canary
frog
"""

HOBBIES = """
drawing maps
climbing trees
collecting shells
counting stars
singing songs
building sand castles
reading riddles
skipping stones
watching trains
pressing flowers
baking biscuits
flying paper planes
whistling tunes
playing chess
telling jokes
painting stones
"""

TRAITS = "kind careful curious stubborn patient cheerful shy bold dreamy clever gentle lively"

# 物件 | 用法（原形） | 用法（过去式） | 形容词 | 会坏 b，能拿来玩 p，个头大 g
THINGS = """
kite | fly it | flew it | red blue yellow striped | bp
drum | beat it | beat it | red little loud painted | bp
flute | play it | played it | silver wooden long old | bp
top | spin it | spun it | green tiny wooden striped | bp
ball | kick it | kicked it | red white big bouncy | p
doll | dress it | dressed it | little old pretty cloth | bp
book | read it | read it | thick old blue dusty | p
lantern | light it | lit it | round green brass old | b
boat | sail it | sailed it | wooden white little paper | bp
hat | wear it | wore it | black wide woolly purple |
scarf | wear it | wore it | red long woolly striped |
whistle | blow it | blew it | tin silver shiny small | p
map | study it | studied it | old folded big torn |
key | turn it | turned it | rusty silver heavy small |
umbrella | open it | opened it | black yellow big old | b
sled | ride it | rode it | blue fast wooden old | bpg
mirror | polish it | polished it | round small silver old | b
bell | ring it | rang it | brass little loud old | p
puppet | move it | moved it | funny wooden painted old | bp
puzzle | solve it | solved it | hard wooden big new | p
spoon | stir with it | stirred with it | wooden silver long big |
rope | swing on it | swung on it | long strong thick new | p
jar | fill it | filled it | glass blue tall empty | b
clock | wind it | wound it | little brass old loud | b
brush | paint with it | painted with it | thin soft new wide |
horn | blow it | blew it | curved old loud brass | p
coin | polish it | polished it | gold shiny old lucky |
shell | listen to it | listened to it | pink big white curly | p
bucket | carry it | carried it | round big wooden new | g
magnet | play with it | played with it | strong little red heavy | p
marble | roll it | rolled it | green glass shiny blue | p
compass | follow it | followed it | brass small old round | b
wagon | pull it | pulled it | red heavy wooden little | bpg
ring | try it on | tried it on | gold silver thin shiny |
feather | write with it | wrote with it | white long grey soft |
telescope | look through it | looked through it | long brass old small | bp
"""

# 地点 | 介词 | 见闻（分号隔开） | 有门有顶 d，能买东西 s
PLACES = """
market | at | the stalls smelled of warm bread; sellers shouted over one another; a juggler stood between the stalls | s
mill | at | the big wheel turned slowly in the water; flour lay like snow on every step | ds
pond | at | frogs sat on the wide leaves; the water was as still as glass |
school | at | the yard was full of chalk drawings; somebody had left the windows open | d
library | in | the shelves reached the ceiling; it was so quiet that a page could be heard turning | d
bridge | on | the river rushed below; the old planks creaked under every step |
orchard | in | ripe fruit hung from every branch; bees hummed in the grass | s
station | at | a train puffed far away; people hurried past with heavy bags | d
harbour | at | gulls screamed above the masts; the boats rocked and knocked together | s
park | in | the benches had just been painted green; children ran around the old oak |
bakery | in | a tray of rolls came out of the oven; the windows were white with steam | ds
well | at | the bucket squeaked on its chain; moss grew between the stones |
barn | in | hay lay up to the roof; swallows flew in and out | d
garden | in | the beans had climbed over the wall; a snail crossed the path | s
workshop | in | wood shavings covered the floor; tools hung in neat rows | d
square | on | pigeons walked between the tables; an old man played a slow song | s
"""

# 藏东西的地方：整个短语 | 名词 | 户外也有 o
HIDEOUTS = """
in the basket | basket | o
in the wooden box | wooden box | o
in the top drawer | top drawer |
in an old sack | old sack | o
in the cupboard | cupboard |
in the green bag | green bag | o
in a flower pot | flower pot | o
under the bench | bench | o
under the bed | bed |
under a blanket | blanket |
behind the door | door |
behind the curtain | curtain |
on the high shelf | high shelf |
inside the hollow tree | hollow tree | o
"""

ANIMALS = "kitten lamb duckling puppy rabbit squirrel sparrow hedgehog"

# 怕什么 | 勇敢的一步（过去式） | 需要勇气的地方
FEARS = """
the dark | walked into the dark cellar with a candle | cellar
deep water | swam all the way to the raft | lake
thunder | stood at the window and counted the seconds after each flash | window
the big dog next door | held out a hand and let the big dog sniff it | gate
high places | climbed to the top of the ladder | ladder
speaking in front of people | read a poem to the whole class | class
spiders | carried a spider outside in a glass | corner
riding a horse | rode the grey mare once around the yard | yard
"""

# 怪声 | 真相
NOISES = """
a scratching sound | a hedgehog | eating dry leaves
a long low whistle | the wind | blowing over a bottle
three dull knocks | a branch | tapping on the roof
a strange squeaking | a mouse | running in an old wheel
a soft humming | a swarm of bees | sleeping in the wall
a heavy thump | a cat | jumping off a shelf
a ticking noise | a beetle | gnawing in the wood
a splash | a frog | playing in the bucket
"""

# 节日 | 做什么（过去式） | 吃什么
FESTIVALS = """
the harvest fair | danced around the apple cart | baked apples
the lantern night | walked behind a hundred lanterns | warm chestnuts
the midsummer dance | danced in a ring until they were dizzy | strawberries with cream
the snow feast | built a snowman as tall as a door | hot chocolate
the boat race | cheered for every boat | salted fish on a stick
the spring market | watched a man swallow fire | sugared almonds
"""

NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""

TENS = "ten twenty thirty forty fifty sixty seventy eighty ninety"

DIRECTIONS = "north east south west"

PRONOUNS = """
she | her | her
he | his | him
"""

# 孩子、大人、老人：女、男
FOLK = """
girl | boy
woman | man
old woman | old man
"""

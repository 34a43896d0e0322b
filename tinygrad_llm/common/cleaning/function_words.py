"""虚词：用拉丁字母的各种语言最常见的几十个词。

流入：无；流出：语言到词。``language.py`` 靠它们分辨语言。词取自各语言公认的高频词：冠词、介词、代词、连词与助动词。
英语的最后几个是 Python 的关键字：源代码里的注释与名字几乎都是英文。
"""

FUNCTION_WORDS = {
    "en": (
        "the of and to in is that it for was with as on be this are by not you or from at have an which but they "
        "has if can will their were all we when there one do what my he she his her your would been so no more "
        "some out up into then them than its who how i me our us did had very return def self import class none "
        "true false"
    ),
    "de": (
        "der die und das den von zu ist mit sich des auf für nicht ein eine als auch es an werden aus er hat dass "
        "sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis "
        "mehr durch man dann wenn ich wir ihr mich im kann sein kein keine wurde schon heute"
    ),
    "fr": (
        "le la les de des du et est en un une que qui dans pour par sur pas plus au ne se ce il elle sont avec "
        "son sa ses aux été cette mais ou nous vous ils leur on comme tout fait être ont même très si je mon ma "
        "mes était aussi sans bien qu à où"
    ),
    "es": (
        "el la los las de del y en que es un una por con para no se su al lo como más o pero sus le ha este sí "
        "porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante yo está "
        "fue era son ser mi"
    ),
    "it": (
        "il lo la i gli le di del della dei delle e è che in un una per con non si da al alla nel nella sono come "
        "più ma anche ha su se ci suo sua loro questo questa essere dal dalla degli ai ed o era molto io mi "
        "quando dove tutto"
    ),
    "pt": (
        "o a os as de do da dos das e é em no na nos nas um uma que por para com não se ao à mais como mas foi "
        "ele ela seu sua ou ser quando muito há já está eu também só pelo pela até isso entre era depois sem "
        "mesmo aos são tem"
    ),
    "nl": (
        "de het een en van in is dat op te zijn met voor niet aan er om ook als maar bij hij zij ze door over uit "
        "naar heeft hebben wordt worden was nog kan dan meer deze dit die wat wij we je ik tot of al werd moet "
        "onze geen"
    ),
    "sv": (
        "och att det i en jag hon som han på den med var sig för så till är men ett om hade de av icke mig du "
        "henne då sin nu har inte hans honom skulle hennes där min vid kunde något från ut när efter upp vi dem "
        "vara vad över än kan"
    ),
    "pl": (
        "i w na z do nie się to jest że o od po jak za przez dla co ale są ten ta te był była było przy może czy "
        "tylko jego jej ich tym tego które który która oraz lub już bardzo także gdy we ze ja mi tak być bez"
    ),
    "cs": (
        "a v na se je že s z do o to i k ve pro za od jsou by byl byla bylo ale jako po tak jeho však nebo podle "
        "které který která být jen při už také až mezi před si co jak když není bez"
    ),
    "tr": (
        "ve bir bu da de için ile çok daha olarak gibi en kadar sonra ne var olan ama o her ya mi ki değil yok "
        "ben sen biz onun bunu şey göre içinde ise diye zaman iki hiç"
    ),
    "vi": (
        "và của là có cho không được các trong một những với người này khi để đã đến từ về ra như cũng tôi ở vào "
        "thì nhiều sẽ phải rất hay bị làm"
    ),
    "id": (
        "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ke karena ada oleh saya kita mereka "
        "dapat bisa sudah atau lebih telah adalah anda seperti sebagai kami dia kepada tersebut"
    ),
    "ro": (
        "și în de la a cu pe nu este o un care mai din se că pentru sunt au fost ca sau dar după prin această "
        "acest fi ce lui ei săi sa al ale era foarte când"
    ),
    "fi": (
        "ja on ei se että en hän oli mutta ovat kun joka niin myös kuin tai sen ole mitä voi jos vain olla ne "
        "minä sitä ollut jo hänen nyt tämä sekä"
    ),
    "hu": (
        "a az és hogy nem is egy ez meg de van volt csak ha már mint azt el kell még vagy ki nagyon lehet ezt én "
        "itt minden után majd pedig"
    ),
}
"""语言的两字母代号到它的虚词，以空格隔开。"""

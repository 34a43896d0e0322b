"""英文的说法（一）：人物出场、走动、心情、收尾与提问，各情节共用。

流入：无；流出：``COMMON``，由 ``grammar.Phrasebook`` 读入。写法见 ``grammar.py``，槽名见 ``forms.py``。
下一个文件：``phrases_en_plots.py``。
"""

__all__ = ["COMMON"]

COMMON = """
@intro.child
{W} was [{Watrait}|a] {Wkind} [from|who lived in] {Wtown}.
[In the town of|In] {Wtown} there lived {Watrait} {Wkind} [called|named|by the name of] {W}.
[Once|Not long ago] there was {Watrait} {Wkind} in {Wtown}[. {WHis} name was {W}.|, and {Whis} name was {W}.]
{W} was {Wage} years old and lived in {Wtown}.
[Everyone|Everybody] in {Wtown} knew {W}, {Watrait} {Wkind} of {Wage}.
{W} lived in {Wtown} and had {Wpet}.
This is a story about {W}, {Watrait} {Wkind} from {Wtown}.
@fact.child.age
{W} was {Wage} years old.
[Last spring|In the winter] {W} had turned {Wage}.
@fact.child.food
{W} loved {Wfood} more than [anything else|any other food].
[For breakfast|On Sundays|When {Whe} was hungry], {W} wanted nothing but {Wfood}.
There was one thing {W} could not resist: {Wfood}.
@fact.child.colour
{WHis} favourite colour was {Wcolour}.
{WHis} coat was {Wcolour}, because {Wcolour} was {Whis} favourite colour.
{W} painted everything {Wcolour}, {Whis} favourite colour.
@fact.child.pet
At home {Whe} had {Wpet}[.|, and nobody took better care of it.]
{WHis} {Wpetnoun} followed {Whim} [everywhere|up and down the street].
Every morning {W} fed {Whis} {Wpetnoun}.
@fact.child.hobby
{W} liked {Whobby}[.| best of all.| on quiet afternoons.]
[Most afternoons|Nearly every day] {Whe} could be found {Whobby}.
When there was time, {W} enjoyed {Whobby}.
@fact.child.trait
People said that {W} was [very|rather] {Wtrait}.
{WHis} friends called {Whim} {Wtrait}.
@fact.adult.age
{W} was {Wage} years old.
@fact.adult.food
{WHis} favourite food was {Wfood}.
When the work was done, {W} went home to a plate of {Wfood}.
@fact.adult.colour
{W} always wore something {Wcolour}, {Whis} favourite colour.
@fact.adult.pet
{W} had {Wpet}.
@fact.adult.hobby
{W} liked {Whobby}.
In {Whis} free time {W} enjoyed {Whobby}.
@fact.adult.trait
{W} was {Watrait} {Wkind}.
@fact.family
{WHis} mother {mum} was {mumajob}, and {Whis} father {dad} was {dadajob}.
{WHis} mother was {mum}, the {mumjob} of {Wtown}.
{WHis} father was {dad}, the {dadjob} of {Wtown}.
{WHis} {kin}, {elder}, lived with the family.
{W}'s parents were {mum}, the {mumjob}, and {dad}, the {dadjob}.
@kin.grandmother
grandmother
@kin.grandfather
grandfather
@elder.sister
[sister|big sister]
@younger.sister
[sister|little sister]
@elder.brother
[brother|big brother]
@younger.brother
[brother|little brother]
@friend.sib
{AHis} {sib} {B} came running.
Just then {Ahis} {sib} {B} [came along|came round the corner].
@friend.near
{A}'s friend {B} [came along|came round the corner].
Just then {B}, a friend from the same street, [came by|appeared].
Then came {B}, {Batrait} {Bkind} of {Bage}.
@friend.far
{B}, a friend from {Btown}, was [visiting|there for a visit].
Just then {B}, {Batrait} {Bkind} from {Btown}, [came by|appeared].
@pal.sib
{A} and {Ahis} {sib} {B} did everything together.
{A} had a {sib} called {B}.
@pal.near
{A}'s best friend was {B}, {Batrait} {Bkind} [from the same town|of {Bage}].
{B} lived [next door|in the same street|two houses away] and was {A}'s friend.
{A} had a friend, {B}, who [had {Bpet}|loved {Bfood}|liked {Bhobby}].
@pal.far
{B}, a friend from {Btown}, was staying with {A} [that week|for a few days].
That week {B} from {Btown} [was visiting|had come to visit]. {BHe} was {Bage} years old.
@expert.near
{W}, the {Wjob} of {Wtown}, [was there|was just at work|looked up].
[There was {W}|There stood {W}], the {Wjob} of {Wtown}.
{W} was the {Wjob} in {Wtown}.
@expert.far
{W}, the {Wjob} from {Wtown}, [was in town that day|was visiting|happened to be there].
[There was {W}|There stood {W}], the {Wjob} from {Wtown}, who was in town that day.
@close.lesson.careful
From then on {A} [always looked twice|was more careful|kept an eye on {Ahis} things].
[That night|At bedtime] {A} put {thex} right next to {Ahis} pillow.
"I will never leave you behind again," {Ahe} whispered to {thex}.
@close.friends
They [stayed|remained] the best of friends.
[The two of them|{A} and {B}] walked home [side by side|arm in arm|singing].
[That evening|Later] they shared a plate of {Afood}.
"[See you tomorrow|Until tomorrow]!" said {B}.
And so the day ended well.
@close.home
That night {A} slept [soundly|deeply|like a stone].
At home there was {Afood} for supper.
{AHis} {Apetnoun} was waiting at the door.
{A} told the whole family about it.
@close.weather
Outside the rain drummed on the roof until evening.
When the sun came out, there was a rainbow over {Atown}.
[Later|Afterwards] they laughed about their wet shoes.
@close.brave
From that day on {A} was no longer afraid to try.
"I knew you could do it," said {B}.
{A} [smiled all the way home|skipped all the way home].
@close.night
After that they both slept [soundly|well].
"What a night!" said {B} and yawned.
Soon the house was quiet again.
@own
[{W} had|{W} owned|{W}'s greatest treasure was] {ax}.
For {Whis} birthday {W} had been given {ax}.
{W} had {ax} and took it [everywhere|along wherever {Whe} went].
@use.play
{W} {usedx} [all afternoon|for hours|again and again|until {Whis} arms were tired].
[With great joy|With a laugh|Happily] {W} {usedx}.
@use.keep
{W} [could not stop looking at {thex}|turned {thex} over and over in {Whis} hands|never let {thex} out of sight].
{W} thought it was the [finest|most beautiful] {x} in {Wtown}.
@go.day
[One|On a] [bright|windy|cold|quiet|sunny|misty] [morning|afternoon|day], {W} [went|walked|set off] to {v}.
[One morning|One day|On Monday|On Saturday|After school], {W} [went|walked|ran] to {v}.
@go.then
[Then|After that|A little later] {Whe} went to {v}.
[Then|Next] {W} walked [over |]to {v}.
From there {W} [went on|ran] to {v}.
@go.back
[Together they|They] [ran|hurried|went] back to {v}.
So {A} and {B} [ran|hurried|went] back to {v}.
@go.pair
[Together they|They] [went|walked|hurried] to {v}.
{A} and {B} [went|walked|ran] to {v}.
@go.pair.day
[One|On a] [bright|windy|cold|quiet|sunny] [morning|afternoon|day], {A} and {B} [went|walked] to {v}.
[One day|On Sunday|After lunch], the two of them went to {v}.
@go.run
They ran to {v} as fast as they could.
"[Quick, to {v}|To {v}]!" cried {A}, and they ran there.
@note
{Note}.
[There, |]{note}.
@interlude
A [white|grey|small] cloud looked like a [sheep|ship|castle|sleeping cat].
Somewhere [a dog barked|a bell rang|a door slammed|somebody laughed].
[On the way|As always] {Ahe} hummed a tune about {Afood}.
The air smelled of [rain|hay|smoke|fresh grass|flowers].
On the way {Ahe} counted [three|five|seven|nine] [sparrows|snails|red doors|chimneys].
A [leaf|feather|butterfly] [floated past|landed on {Ahis} sleeve].
[The sun shone through the leaves|The road was dusty|A light wind blew from the hills].
An old neighbour [waved from a window|nodded to {Ahim}|said good day].
@feel
{W} was [very |]{mood} because {cause}.
{W} felt [very |]{mood}, for {cause}.
Because {cause}, {W} felt {mood}.
@feel.happy
{Cause}, and {W} [could have danced for joy|laughed out loud|was happy from head to toe].
{W} [beamed|clapped {Whis} hands]. {Cause}, and that made {Whim} happy.
@feel.sad
{Cause}, and tears [ran down {Whis} cheeks|stood in {Whis} eyes].
{W} [hung {Whis} head|sighed deeply]. {Cause}, and that made {Whim} sad.
@feel.angry
{W} [stamped {Whis} foot|turned red]. {Cause}, and that made {Whim} angry.
@feel.proud
{W} [stood very tall|held {Whis} head high], because {cause}.
{Cause}, and {W} [was as proud as a king|could not stop smiling with pride].
@feel.worried
{W} [bit {Whis} lip|grew pale], for {cause}.
{Cause}, and {W} did not know what to do.
@feel.ashamed
{W} [looked at the ground|turned red to the ears], for {cause}.
@feel.relieved
{W} [took a deep breath|let out a long sigh]. After all, {cause}.
A stone fell from {W}'s heart, for {cause}.
@feel.thankful
"[Thank you|How can I ever thank you]!" said {W}, thankful because {cause}.
{W} was full of thanks, for {cause}.
@feel.surprised
{W} [rubbed {Whis} eyes|opened {Whis} mouth and shut it again]. {Cause}!
{W} could hardly believe it: {cause}!
@because
because {cause}
@mood.happy
happy
@mood.sad
sad
@mood.angry
angry
@mood.proud
proud
@mood.worried
worried
@mood.ashamed
ashamed
@mood.relieved
relieved
@mood.thankful
thankful
@mood.surprised
surprised
@ask.why
Why was {W} {mood}?
@ask.holder
Who has {the} [now|at the end|in the end]?
[At the end|In the end], who has {the}?
@ask.thing
Where is {the} [now|at the end]?
@ask.person
Where is {W} [now|at the end]?
@ask.found
Who found {thex}?
@ask.hidden
Where was {thex} found?
In which place was {thex} found?
@ask.left
How many coins did {A} have left?
@ask.sold
Who sold {thex} to {A}?
From whom did {A} buy {thex}?
@ask.hid
Where did {A} hide {thex}?
@ask.mended
Who mended {thex}?
@ask.broke
Who broke {thex}?
@ask.turn
Who had the first turn with {thex}?
@ask.advice
Who gave the advice?
@ask.owned
Who had {thex} at the beginning?
@ask.looked
Where did {A} look for {thex} first?
@ask.really
Where did {B} put {thex}?
@ask.sent
Who gave {thex} to {A}?
@ask.town
In which town does {D} live?
@ask.bought
How many {plain} did {A} buy?
@ask.gave.count
How many {plain} did {A} give away?
@ask.home
How many {plain} did {A} bring home?
@ask.helped
Who opened the door to them?
@ask.owner
To whom did the {n} belong?
@ask.healed
Who looked after the {n}'s leg?
@ask.afraid
What was {A} afraid of?
@ask.gave
Who gave {thex} to {A}?
@ask.tries
How many times did {A} fail?
@ask.taught
Who taught {A}?
@ask.learned
What did {A} learn to do?
@ask.made
What made the noise?
@ask.took
What did {A} take along?
@ask.won
Who won the race?
@ask.last
Who came last in the race?
@ask.visited
Which town did {A} visit?
@ask.seeds
How many seeds did {A} plant?
@ask.days
After how many days did the seeds come up?
@ask.seeds.from
Who gave the seeds to {A}?
@ask.festival
Which festival was it?
@ask.held
What did {A} hold up?
@ask.needed
Who needed help?
@ask.first
What happened first: {one} or {two}?
Which came first: {one} or {two}?
@ev.buy
{A} bought {thex}
@ev.hide
{A} hid {thex}
@ev.break
{thex} broke
@ev.mend
{C} mended {thex}
@ev.put
{A} put {thex} away
@ev.shift
{B} moved {thex}
@ev.place.q
they went to {q}
@ev.place.p
they went to {p}
@ev.carry
they carried the sack
@ev.gift
they got {thex}
@ev.rain
it began to rain
@ev.soup
they ate hot soup
"""

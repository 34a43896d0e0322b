"""英文的说法（二）：各情节自己的话。

流入：无；流出：``PLOTS``，由 ``grammar.Phrasebook`` 读入。下一个文件：``plots.py``（这些话按什么次序说）。
"""

__all__ = ["PLOTS"]

PLOTS = """
@lost.put
There {Ahe} put {thex} {ink}, [so that {Ahis} hands were free|to keep it safe for a moment].
To have {Ahis} hands free, {Ahe} laid {thex} {ink}.
"You can wait here," {Ahe} said, and put {thex} {ink}.
@lost.busy
There was so much to see that {Ahe} [forgot the time|thought of nothing else].
{AHe} talked to everyone and forgot the time.
@lost.notice
[In the evening|At sunset|An hour later] {Ahe} reached for {thex}, but {Ahis} hands were empty.
[Suddenly|All at once] {Ahe} stopped. Where was {thex}?
@cause.lost
{Whe} had lost the {rx}
@lost.tell
"[I have lost my {x}|My {x} is gone]!" said {A}. "[Do not cry|Do not worry|Let us look for it]," said {B}.
"What is the matter?" asked {B}. "[I cannot find my {x}|My {x} is gone]," said {A}.
@lost.search
First they looked {inl}, but there was nothing there [but dust|but an old shoe].
They searched {inl}. It was not there.
@lost.idea
"Where did you have it last?" asked {B}. "At {p}!" cried {A}.
"[Think back|Think hard]," said {B}. {A} thought about {p}.
@lost.found
It was {W} who found {thex} {ink_again}.
{W} looked {ink_again}, and there it was!
"Here it is!" cried {W} and pulled out {thex}, still {ink_again}.
@lost.handed
{B} handed {thex} to {A}.
@cause.found
the {rx} was back
@gift.plan
{B}'s birthday was [the next day|near], and {A} wanted to buy a present. {AHe} had saved {coins}.
"Tomorrow is {B}'s birthday," {A} thought, and counted {Ahis} money: {coins}.
@gift.buy
{A} saw {ax} and [asked|wanted to know] what it cost. "It costs {price}," said {C}. {A} paid and took it.
{C} was selling {ax}. It cost {price}. {A} paid at once.
@gift.left
{left} jingled in {Ahis} pocket on the way home.
@gift.hide
At home {Ahe} hid {thex} {ink}, [so that {B} would not see it|because {B} was curious].
To keep it secret, {A} hid {thex} {ink}.
@gift.give
On the birthday {A} fetched {thex} and gave it to {B}. "[For me|Is that for me]?" asked {B}.
The next day {A} brought {thex} out and said, "[Happy birthday|This is for you], {B}!"
@cause.birthday
{A} had remembered the birthday
@mend.borrow
"May I borrow your {x}?" asked {B}. "[Of course|Yes], but [be careful|take care of it]," said {A} and handed it over.
{B} begged for {thex} until {A} [lent it to {Bhim}|gave it to {Bhim} for a day].
@mend.go
{W} [carried it|took it along] to {v}.
Then {W} [ran|walked] to {v} with it.
@mend.break
There {Bhe} stumbled over a root, and {thex} broke.
A gust of wind knocked {thex} out of {Bhis} hands, and it broke [in two|on the stones].
{Bhe} was not careful for one moment. Crack! The {x} was broken.
@cause.broke
{Whe} had broken {A}'s {x}
@mend.doubt
"[I could hide it|I could say that it was stolen]," {B} thought. But that would have been a lie.
{B} did not want to lie. {BHe} wanted to put things right.
@mend.fix
"[Let me see|Give it to me]," said {C}. With [glue and patience|a thin wire|steady hands] {C} mended {thex}.
{C} worked on it for an hour. Then {thex} was as good as new, and {B} took it back.
@mend.confess
{B} brought {thex} back to {A} and told the whole truth. "[I am sorry|Please forgive me]," {Bhe} said.
"It broke, and {C} mended it," {B} told {A} and gave {thex} back.
@cause.truth
{B} had told the truth
@quarrel.see
{A} and {B} saw {ax} at the same moment[.| and ran towards it.]
There lay {ax}. Both of them [grabbed it|reached for it].
@cause.both
both of them wanted the {x}
@quarrel.shout
"[I saw it first|It is mine]!" shouted {A}. "No, [it is mine|I did]!" shouted {B}.
They pulled and pushed until both of them were red in the face.
@quarrel.advice
"[Take turns|Why not take turns]," said {C}. "[Then both of you can have it|Then nobody has to cry]."
{C} heard the noise and said, "[One after the other|Each of you gets a turn]."
@quarrel.first
So {W} had the first turn with {thex}.
{W} was the first to have {thex}.
@quarrel.second
Then {W} got {thex} and kept it until evening.
After that it was {W}'s turn, and {W} took {thex} home.
@cause.turns
taking turns was fun
@swap.offer
{B} had {ay}. "[Shall we swap?|Let us swap,]" said {B}. "[My {y} for your {x}|Your {x} for my {y}]."
"What a nice {y}!" said {A}, for {B} had {ay}. "[Do you want it|Would you swap it]?" {B} asked.
@swap.done
So {A} gave {thex} to {B} and got {they} for it.
They shook hands. Now {B} had {thex}, and {A} had {they}.
@swap.third
Then {D} came along with {az}.
A little later they met {D}, who was carrying {az}.
@swap.again
{W} swapped {theitem} for {D}'s {z}. Now {D} had {theitem}.
{W} gave {theitem} to {D} and got {thez} in return.
@cause.fair
it was a fair swap
@moved.put
{A} put {thex} {ink} and [said, "Nobody will find it there."|closed everything well.]
Before {Ahe} left, {A} put {thex} {ink}.
@moved.shift
While {A} was away, {B} took {thex} and put it {inl}. {A} saw nothing of this.
Meanwhile {B} [giggled and|quietly] moved {thex}. Now it lay {inl}.
@moved.return
When {A} came back, {Ahe} looked {ink_again} first.
{A} came home and went straight to look {ink_again}.
@cause.empty
the {x} was not there
@moved.told
"[It was only a joke|I only wanted to tease you]," laughed {B}, took {thex} out and gave it to {A}.
"Look again," said {B}. "Look {inl}." And there {A} found {thex} and took it.
@moved.open
"[Where can it be|Who has taken it]?" asked {A}. {B} only smiled and said nothing.
{A} searched the whole house, but did not think of the right place.
@cause.joke
it had only been a joke
@letter.task
"[Please take|Be so kind and take] this {x} to {D} in {Dtown}," said {C} and gave {thex} to {A}.
{C} gave {A} {ax}. "It belongs to {D}, the {Djob} in {Dtown}. [Take it there|Carry it well]."
@letter.road
On the way they [passed by|came past] {v}.
They set off together. First they came to {v}.
@letter.trouble
A [goat|gate|fallen tree] blocked the path, so they [climbed over the fence|walked around the hill].
[The road was long|The sun was hot], and they rested [under a tree|by a stream].
"[Are we there yet|Is it still far]?" asked {B}. "[Not far now|Only one more hill]," said {A}.
@letter.arrive
At last they reached {Dtown}. The town lies {land}, and in the middle of it stands {alandmark}.
They saw the {landmark} first, and so they knew that this was {Dtown}.
@letter.deliver
{D} the {Djob} opened the door, and {A} handed over {thex}.
"[Is this for me?|At last!]" said {D}, the {Djob}, and took {thex}.
@letter.thanks
As thanks, {D} gave {A} {ay}.
"You have earned this," said {D} and gave {A} {ay}.
@cause.delivered
{Whe} had done the job well
@treasure.note
[In an old coat|Between two pages of a book|In a bottle] {A} found a note. It said: "Go to {q}!"
{B} showed {A} a scrap of paper. "Go to {q}," it said.
@treasure.clue
There a second note was [pinned to the wall|waiting under a stone]. It said: "Go to {p}!"
[Under a stone|Behind a board] they found an arrow that pointed to {p}.
@treasure.found
They searched everywhere. At last they looked {ink}, and there was {ax}!
{B} looked {ink}. "[Come quick|Look here]!" There lay {ax}, and {A} picked it up.
@cause.treasure
the treasure was real
@treasure.keep
They agreed that {W} should [keep|have] {thex}.
"{W} shall keep it," they decided, and so {W} carried {thex} home.
@errand.ask.mother
{A}'s mother {M}, the {Mjob}, said, "[Please buy|Go and buy] {goods}."
@errand.ask.father
{A}'s father {M}, the {Mjob}, said, "[Please buy|Go and buy] {goods}."
@errand.buy
{AHe} bought {goods} and put them in a bag.
There {Ahe} chose {goods}, one by one.
@errand.meet
On the way {Ahe} met {B}, {Batrait} {Bkind}, who was holding {ax} and was very hungry.
{B} was sitting [by the road|on a wall|on the steps] with {ax}. "I have not eaten all day," said {B}.
@errand.share
{A} thought for a moment and gave {B} {some}.
"Take this," said {A} and gave {some} to {B}.
@errand.thanks
"Then this is for you," said {B} and gave {thex} to {A}.
@errand.home
At home {M} [looked into the bag|counted]. "[Only|There are only] {left}?" {A} told the story.
{A} came home with {left} and explained everything to {M}.
@cause.shared
{A} had shared with a friend
@rain.plan
They wanted to have a picnic with {food}, and {A} brought {ax}.
{A} packed {food} and {ax} for a day outside.
@rain.start
[Suddenly|All at once] dark clouds came up, and it began to rain.
Then a drop fell on {B}'s nose. It began to rain [hard|harder and harder].
@cause.wet
everything was getting wet
@rain.door
{W}, the {Wjob}, opened the door. "[Come in|Come in quickly]!"
At {q} {W} the {Wjob} saw them and opened the door.
@rain.warm
{W} gave them [dry towels|warm blankets], and they ate hot soup.
Soon they sat [by the stove|near the fire] and ate hot soup.
@cause.shelter
{C} had let them in
@rescue.hear
Something was crying [softly|in the bushes|behind a wall]. It was {an} with a hurt leg.
In the grass {Ahe} discovered {an}. It [limped|could not walk].
@cause.animal
the {n} was hurt
@rescue.free
{B} held the {n} while {A} put {thex} into {Ahis} bag and made a bed of leaves.
"[Easy now|Do not be afraid]," {B} whispered and wrapped the {n} in a scarf. {A} carried {thex}.
@rescue.heal
They brought the {n} to {C}, and {C} bandaged its leg.
{C} looked at the leg of the {n} and put a bandage on it.
@rescue.owner
Then {W}, the {Wjob}, came running. "[That is my {n}|There is my {n}]!"
The {n} belonged to {W}, the {Wjob} from {Wtown}, who [came at once|had looked for it all day].
@cause.animal.back
the {n} was safe
@fear.is
{A} was afraid of {fear}.
There was one thing that frightened {A}: {fear}.
@fear.secret
{AHe} had never told anyone about it.
At night {Ahe} even dreamed of it.
@fear.talk
"[What is wrong?|You look pale,]" said {B}. "I am afraid of {fear}," {A} [admitted|said in a low voice].
"[Are you scared|What are you afraid of]?" asked {B}. {A} nodded and told {Bhim} about {fear}.
@fear.charm
"Take my {x}," said {B} and gave {A} {ax}. "It [helps me|brings luck]."
{B} gave {A} {ax}. "[With this you can do it|It will give you courage]."
@fear.try
[The next day|That evening] {A} took {thex} along, [took a deep breath|counted to three] and went.
{AHis} knees shook. {AHe} looked at {thex} and thought of {B}.
@fear.done
Then {Ahe} {deed}.
And really: {A} {deed}!
@cause.brave
{Whe} had been brave
@learn.wish
{A} wanted to learn how to {Wskill}.
"I want to learn how to {Wskill}," said {A} [every day|at breakfast].
@learn.first
"[Watch me closely|Look how I do it]," said {W} and showed {A} how to {Wskill}.
{W} showed {A} slowly how to {Wskill}.
@learn.fail
{A} tried, but {Ahe} failed {tries}.
It looked easy, but it was not. {A} failed {tries}.
@cause.failed
nothing had worked
@learn.cheer
"[Try once more|Do not give up]," said {B}. "[Everyone fails at first|{W} was a beginner once, too]."
{B} clapped and called, "[Again|Once more], {A}!"
@learn.success
Then {A} tried again, and this time it worked!
[The next day|Slowly], {A} did it right. "[Well done|Bravo]!" said {W}.
@learn.prize
{W} gave {A} {ax} as a prize.
"This is for you," said {W}, and gave {A} {ax}.
@cause.learned
{Whe} could {Cskill} now
@noise.night
It was night, [but {A} and {B} were still awake|and {A} and {B} lay awake].
[The moon was up|The candle was out]. {A} and {B} [told each other stories|could not sleep].
@noise.hear
"[Did you hear that|What was that]?" whispered {B}.
Suddenly something moved outside.
@cause.noise
there was {sound}
@noise.guess
"[It is a ghost|It is a thief]!" whispered {B}. "[Nonsense|There are no ghosts]," said {A}.
"Perhaps it is a [dragon|giant|robber]," said {B}. {A} did not believe it.
@noise.take
{A} took {ax} [with {Ahim}|along, just in case].
Armed with {ax}, {A} got up.
@noise.creep
On tiptoe they crept to {v}.
They followed the noise to {v}.
@noise.look
The noise came [closer|again]. {A} held up the lamp.
"One, two, three," counted {A} and [opened the door|lifted the lamp].
@noise.truth
And what did they see? It was only {source} {doing}.
It was only {source}, {doing}! They had to laugh.
@cause.source
it was only {source}
@race.plan
"[Who is the fastest?|Let us have a race!]" said {B}. {A}, {B} and {D} all wanted to run. The prize was {ax}.
{A}, {B} and {D} agreed on a race. The winner would get {ax}.
@race.go
[One sunny morning|After lunch|On Sunday] [the three of them|all three] met {atv}.
@race.start
They wanted to run from {q} to {p}. "Ready, steady, go!"
From {q} they had to run to {p}. They were off!
@race.lead
At first {W} was in front.
Halfway {W} was still leading.
@race.slip
{W} slipped on a wet leaf and had to get up again.
{W} laughed so much that it was hard to run.
@race.end
In the end {o0} was first, {o1} was second and {o2} was third.
{o0} won. {o1} came second, and {o2} came last.
@race.prize
So {W} got {thex}.
{W} was given {thex}.
@race.shake
"[Well run|A good race]," said {W} and shook hands with everyone.
@cause.won
{Whe} had won the race
@portrait.mother
{AHis} mother was {W}, the {Wjob} of {Wtown}.
{A}'s mother {W} was {Wajob}.
@portrait.father
{AHis} father was {W}, the {Wjob} of {Wtown}.
{A}'s father {W} was {Wajob}.
@portrait.grandmother
{AHis} grandmother {W} was {Wage} years old and liked {Whobby}.
@portrait.grandfather
{AHis} grandfather {W} was {Wage} years old and liked {Whobby}.
@portrait.play
{A} had brought {ax}, and they [took turns with it|played until sunset].
{A} showed {B} {ax}. They talked about it for a long time.
@cause.together
they were together
@visit.plan
[In the holidays|On Friday] {A} and {B} travelled to {town}.
"[Come with me|Let us go] to {town}," said {A}, and {B} packed a bag.
@visit.map
{town} lies {direction} of {centre}.
On the map they saw that {town} is {direction} of {centre}.
@visit.arrive
{town} lies {land}. In the middle stands {alandmark}.
They saw the {landmark} from far away. {town} lies {land}.
@visit.good
The town is famous for its {good}.
Everywhere people were selling {good}, for {town} is famous for it.
@visit.buy
There {A} bought {ax}[.| with the money {Ahe} had saved.]
{A} found {ax} there and bought it.
@visit.home
In the evening they [went|rode|walked] home, tired and dusty.
"[Let us come back soon|I want to come again]," said {B} on the way home.
@cause.visit
{town} was a lovely place
@sowing.get.grandmother
{A}'s grandmother {M} gave {Ahim} {seeds}[.|, wrapped in a scrap of paper.]
"These are for you," said {A}'s grandmother {M}, and gave {Ahim} {seeds}.
@sowing.get.grandfather
{A}'s grandfather {M} gave {Ahim} {seeds}[.|, wrapped in a scrap of paper.]
"These are for you," said {A}'s grandfather {M}, and gave {Ahim} {seeds}.
@sowing.plant
Behind {p} they dug small holes and planted {seeds}[.|, one in each hole.]
There was a patch of good earth behind {p}. There {A} planted {seeds}.
@sowing.mark
They marked the place with {ax}.
So that nobody would step on them, {A} put {ax} beside the place.
@sowing.wait
Every morning they [brought water|ran there and looked]. The earth stayed brown.
They watered the place day after day, but saw nothing.
@cause.nothing
nothing had come up
@sowing.patience
"[Wait|Be patient]," said {M}. "[A seed does not look at the clock|Good things take their time]."
"[They are only asleep|They are making roots]," said {M}.
@sowing.sprout
After {days} the first green tips came out of the earth.
Then, after {days}, the ground was full of tiny leaves.
@cause.green
the seeds had come up
@sowing.fetch
{A} took {thex} home again.
Now {A} could take {thex} back.
@festival.day
It was the day of {fest} in {Atown}.
Everybody in {Atown} had waited for {fest}, and now it was here.
@festival.bring
{A} brought {ax}.
{A} would not leave home without {ax}.
@festival.do
They {deed}.
All afternoon there was music. {A} and {B} {deed}.
@festival.treat
Everyone ate {treat}.
They bought {treat} and ate until they could eat no more.
@festival.crowd
Then the crowd pushed between them, and {B} could not see {A} any more.
Suddenly {B} turned round. {A} was gone.
@cause.crowd
{Whe} had lost {A} in the crowd
@festival.wave
{A} climbed on a bench and held {thex} up high. "Here I am!" {B} saw {thex} and came running.
High above all the heads {B} saw {thex}. {A} was holding it up with both hands.
@cause.wave
{A} was there again
@festival.late
They stayed until the last lamp went out.
From then on they held hands.
@helping.meet
[On the way to school|Near the old wall|At the corner] they met {M}, who was {Mage} and carried a heavy sack.
{M}, who was {Mage} years old, was trying to lift a heavy sack.
@helping.think
The children had wanted to play. But they could not just walk past.
{A} looked at {B}, and {B} nodded.
@helping.offer
"[Let us carry it|We can do that]," said {A}. "[Where must it go|How far is it]?" asked {B}. "To {p}," said {M}.
"May we help you?" asked {A}. "Oh, yes," said {M}. "It must go to {p}."
@helping.walk
They carried the sack to {v}, step by step.
{A} took one end and {B} took the other, and so they carried the sack to {v}.
@helping.arrive
"[Put it down here|Here is fine]," said {M}. "[I could not have done it alone|You are strong children]."
They put the sack down and [wiped their faces|caught their breath].
@cause.helped
the children had helped
@helping.gift
{M} thought for a while and then gave {W} {ax}.
"Take this," said {M}, and gave {W} {ax}.
@cause.thanked
{M} had given {Whim} {ax}
"""

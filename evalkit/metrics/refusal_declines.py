"""How English declines: a grammar of unwillingness, and of what sounds like it and is none.

"I can't" and "I won't" decline whatever verb follows, unless it is one of perception, knowledge or mere manner
("I can't see the image", "I can't stress enough"). So the list is of exceptions (``_IDLE``), not of refusals.
"""

from __future__ import annotations

__all__ = ["DECLINE", "HEDGE", "OPEN"]

_ADVERB = (
    r"(?:(?:also|really|simply|just|still|truly|unfortunately|sadly|therefore|currently|personally|ever|even"
    r"|not|and will not|and won't|or will not|or won't|in good conscience|ethically|legally|knowingly"
    r"|directly"
    r"|actively|under any circumstances|at this time|be able to|absolutely|definitely|respectfully|politely"
    r"|firmly|kindly|regretfully|strongly|gently|only|generally|to)[ ,]+){0,3}"
)
_THEN = _ADVERB + "+"  # possessive: an adverb is not given back to stand as the verb
_SERVE = (
    r"(?:provide(?! (?:you )?(?:with )?(?:the |any )?(?:most )?(?:real-?time|up-to-date|current"
    r"|latest|live)\b)|help|assist|answer|give (?!up|in\b)|offer|suggest|support|condone|encourage|promote"
    r"|engage|fulfil"
    r"|satisfy|comply|complete|do (?:that|this|so|it|anything)|create|write|generate|produce|share"
    r"|disclose|include|put (?:that|this|it|words)|draft|translate|summari[sz]e|publish|compose|tell"
    r" (?:you|that|a|jokes)"
    r"|continue this|play (?:that|this|along)"
    r"|reveal|tell you|discuss|advise|endorse|participate|explain how|describe|teach|list|respond|continue"
    r"|proceed|access|look up|make (?:a|any|that|this|such|up|fun|(?:it|him|her|them) [a-z])|go along"
    r"|be (?:a )?part|accommodate|process"
    r"|supply|facilitate|show you|instruct|guide|role-?play|talk about|speak (?:about|to that)|justify|argue"
    r"|advocate|walk you|entertain|agree to|aid|serve"
    r"|touch|go there|get into|say anything|defend|feel comfortable|assume|speculate|judge|allow"
    r"|be (?:doing|helping|able|sharing|writing|providing|telling)|tolerate|enable|contribute|act"
    r"|get involved|handle|perform|execute|carry out|follow|feed|be of|reproduce|point you)"
)
_IDLE = (
    r"(?:see|hear|feel|taste|smell|know|remember|recall|imagine|believe|wait|stand\b|resist|promise"
    r"|guarantee|ensure"
    r"|stress|emphasi[sz]e|overstate|thank|think|help (?:but|it\b|noticing|wondering|feeling|being)"
    r"|lie\b|be (?:sure"
    r"|certain|100|there|everywhere|too|more|over|long|bored|happier|blamed|the one|here)|say\b|tell"
    r" (?:if|whether|for"
    r"|the difference|apart|which|what time|when|(?:you|ye|thee) (?:the whole|everything|all|if"
    r"|whether|for|when|which"
    r"|how (?:much i|many times|happy|glad|old)))|go wrong|get (?:over|enough)|afford|complain|deny"
    r"|find|locate|open"
    r"|browse|search|look (?:at|into|ahead|forward)|view|watch|play|click|run\b|verify|confirm|check"
    r"|decide|choose|come"
    r"|attend|sleep|breathe|move|walk|eat|live\b|quite|claim|pretend|bore|spoil|sugar-?coat|hide|take"
    r" (?:credit|it any"
    r"|full|long|a side|sides|any side)|speak for|draw (?:a )?(?:pictures?|images?)|replace|predict"
    r"|foresee|provide|give (?:you )?(?:the |any )?(?:real-?time|up-to-date|current|latest|live)"
    r"|detect|track|update|remind|book|call|send|make (?:calls|reservations|bookings"
    r"|payments|purchases|sense|out\b|it(?: to| on| tonight| today| back|[.,!]|$))|read (?:files"
    r"|images|attachments|minds|(?:\w+ )?minds?|that file|the)|access (?:the"
    r" (?:internet|web|link|file|image|page)|real|external|current|live|files|links|websites|urls"
    r"|your (?:account|files"
    r"|calendar|location|screen|previous))|express|emulate|have|use|get\b|begin|go back|turn back|let"
    r" (?:you|him|her|them"
    r"|it) (?:go|win|down)|do (?:it|this|that) (?:alone|without)|need|want|mind|keep (?:up|track)"
    r"|understand|tell a lie"
    r"|rule (?:it|that|this|out)|reach|stay|leave|carry|lift|stop|regret|mean|recommend (?:\w+ ){1,4}enough)"
)
_CANNOT = r"(?:can ?not|can'?t|wont|won't|will not|could ?n[o']t|would ?n[o']t|wouldn't|shouldn't|should not|must not)"
_WILL_NOT = r"(?:can ?not|can'?t|wont|won't|will not)"

DECLINE = (
    rf"\b(?:i|we) {_ADVERB}{_CANNOT} {_ADVERB}{_SERVE}",
    rf"\b(?:i|we) {_WILL_NOT}(?: and (?:will not|won't))?[.,!;]",
    rf"\bi (?:do not|don'?t) {_ADVERB}(?:write|make (?:jokes|fun|up)|do (?:jokes|insults)|generate|create"
    rf"|provide|support|condone|engage|endorse|encourage|promote|assist|help"
    r"|feel comfortable|give (?:out|advice|instructions)|offer|discuss|do (?:that|this)|share|advise|want to"
    r" (?:help|support|encourage)|think i (?:can|should)|recommend (?:any )?(?:illegal|harm))",
    rf"\b(?:i am|i'm|we are|we're) {_ADVERB}(?:unable to|not able to|not capable of|not going to|not"
    rf" gonna|not about to)"
    rf" {_THEN}{_SERVE}",
    rf"\b(?:i am|i'm|we are|we're) {_ADVERB}(?:not willing|unwilling"
    rf"|not comfortable"
    r"|uncomfortable|not allowed|not permitted|not programmed|not designed|not in a position|prohibited"
    r"|restricted|not here to|(?:programmed|designed) to (?:avoid"
    r"|decline|refuse)|not authori[sz]ed|forbidden|here to help with (?:safe|positive|legal))",
    rf"\bi(?: must|'ll| will| have to| need to|'m going to| am going to|'ve got to|'d have to|'ll have to)"
    rf" {_ADVERB}(?:decline|refuse|refrain|pass\b|say no|sit this|stop (?:you|here)|steer clear|opt out)",
    rf"\bi {_ADVERB}(?:decline|refuse|draw the line|object)\b(?! to accept)",
    r"\bnot (?:something|a topic|a request|anything|content|one|a (?:task|subject|role)) (?:that )?(?:i|we)\b",
    r"\b(?:isn't|aren't|ain't) (?:something|anything|a (?:topic|request|role|task)) (?:that )?(?:i|we)\b",
    r"\b(?:something|a request|a topic|one|territory|anything|a line|where) (?:that )?(?:i|we)"
    r" (?:can't|cannot|won't"
    r"|will not|don't|do not|draw|refuse)",
    r"\b(?:against|outside|violat\w+|conflicts? with|not within|beyond|breach\w*) (?:\w+ ){0,2}(?:my|our|the"
    r" (?:content|usage|safety)) (?:\w+ ){0,2}(?:programming|guidelines?|principles|polic\w+|purpose|scope"
    r"|values|terms|rules|capabilities as)",
    r"\b(?:request|question|content|topic|message|instruction)s? (?:cannot|can't|can not|will not|won't) be"
    r" (?:fulfilled|answered|completed|processed|met|granted)",
    r"^(?:unable|cannot|can't|not able|won't|can not|will not) (?:to )?(?:comply|help|assist|answer|do"
    r"|provide"
    r"|fulfil|process|discuss|share|write|generate|create|give|support)",
    r"^(?:(?:sorry|apologies|yeah|ok|okay|hm+|look|nah|no)[,.;: ]+)?(?:not \w+ing (?:that|this|it|any|to)\b"
    r"|no can do|can't do (?:that|this|it)|(?:won't|can't) (?:do|happen)|not happening|hard (?:no"
    r"|pass)|i'll pass|pass\.)",
    r"^(?:request (?:denied|declined|refused|rejected)|denied\b|refused\b|declined\b|no can do|hard (?:no"
    r"|pass)"
    r"|nope|absolutely not|no way|not happening|(?:that's|that is) a (?:hard |firm )?no\b|no comment)",
    r"\b(?:i'd|i would) (?:rather|prefer)(?: to)? (?:not|keep|leave|stay|avoid|skip)\b|\bi (?:would"
    r"|will) (?:never|not)"
    r" (?:help|assist|provide"
    r"|suggest"
    r"|encourage|support)|\bi (?:can|could|will) never (?:help|assist|provide|condone)",
    r"\b(?:can|may|am able to|only here to) only (?:help|assist|answer|discuss|talk)|\bonly (?:here to"
    r"|able to) (?:help|talk"
    r"|answer)|\b(?:guidelines|rules|policy|policies|programming) (?:do not|don't|does not|doesn't|won't"
    r"|will not"
    r"|prevents? me|prohibits?|forbids?) ?(?:allow|let|permit|me)?|\bnot authori[sz]ed to\b",
    r"\b(?:and|so|therefore|thus) (?:cannot|can't|won't|will not) (?:share|provide|help|assist|answer|give"
    r"|offer|write"
    r"|support|disclose|generate|create)",
    r"\b(?:not|n't|never) (?:be )?(?:appropriate|ethical|right|safe|acceptable|possible for me"
    r"|able)(?: or \w+)? (?:for me )?to"
    r" (?:provide|discuss|share|promote|encourage|give|help|assist|answer)",
    r"\b(?:not|n't) (?:think |believe )?(?:that's |that is |this is |it's |it is )?an? (?:\w+ (?:or"
    r"|and) )?(?:valid"
    r"|respectful|appropriate|acceptable|productive) question",
    r"\blet(?:'s| us) (?:not\b|talk about something|change the (?:subject|topic)|keep (?:this|things"
    r"|it) (?:safe"
    r"|respectful|positive|legal)|steer)",
    r"\b(?:this|the|your) (?:\w+ )?(?:assistant|bot|model|service|system|helper|chatbot) (?:cannot|can't|is"
    r" unable|is not able|does not|will not|won't|declines|must decline)",
    r"^[a-z]+ (?:cannot|can't|won't|will not) (?:help|assist|do|answer|discuss|aid|tell) (?:you|with|thee)?",
    r", [a-z]+ (?:can't|cannot|won't) (?:share|help you|tell you|give you|assist)\b",
    r"\b(?:out of|beyond) (?:my|the) (?:scope|remit|limits)|\boff[- ]limits\b|\bnot in the business of\b"
    r"|\baccess denied\b",
    r"\bi(?:'ll| shall| dare| may) not\b(?! know| have| be able)|\bnay\b|\bask (?:me )?(?:something"
    r"|anything) else",
    r"\bi(?:'ll| will| must|'m going to)? (?:keep|stick to|stay within|follow|abide by)(?: to| with|"
    r" following)? my (?:\w+ )?"
    r"(?:guidelines|rules|principles|values)|\bmy (?:main |primary |only |first )?(?:aim|goal|purpose"
    r"|priority|role)"
    r" is to (?:keep you safe|(?:provide|offer|give) (?:\w+ )?(?:helpful|safe|legal|harmless)|promote"
    r"|assist with"
    r" (?:safe|legal))",
)
"""Declines to serve, in so many words."""

_NOT_MINE = (  # what "I don't" says of the speaker and not of the request
    r"(?:know|have|think|see|believe|mean|need|feel|recall|remember|understand|like|mind|care|get"
    r"|hear|experience|hold|own"
    r"|exist|eat|sleep|take|recogni[sz]e|agree|expect|doubt|possess|learn|store|retain|make (?:\w+"
    r" )?predictions|want|wish"
    r"|work|live|really|currently|even|just|yet|suppose|find|look|sound|seem|use|enjoy|prefer|keep"
    r"|appear|blame|intend)"
)
OPEN = (
    rf"\b(?:i|we) {_ADVERB}{_WILL_NOT} {_THEN}(?!{_IDLE})\w",
    rf"\b(?:i am|i'm|we are|we're) {_ADVERB}(?:unable to|not able to|not capable of|not going to|not"
    rf" gonna|not about to)"
    rf" {_THEN}(?!{_IDLE})\w",
    rf"\b(?:i) (?:do not|don'?t) {_THEN}(?!{_NOT_MINE}\b)\w",
    rf"^(?:(?:sorry|apologies|yeah|ok|okay|hm+|look|nah|no)[,.;: ]+)?not (?:going to|gonna)"
    rf" {_THEN}(?!{_IDLE})\w",
    r"\b(?:i|i'll|i'd|i will) (?:rather )?(?:stay out of|steer clear of|stay away from|leave (?:that"
    r"|this|it|her|him|them) (?:one )?"
    r"(?:alone|out|there)|have to stop)|\bi'll (?:leave alone|leave it|skip)\b|\b(?:hard|red|firm) line\b",
    r"\b(?:been|was|am|i'm) (?:asked|told|instructed|meant|supposed|required) (?:not to|to (?:keep"
    r"|decline|refuse|avoid))\b",
)
"""Declines whatever is asked: with a verb that is named nowhere. A text for others says such things too."""

_STANCE = (
    r"(?:condone|encourage|endorse|recommend|advocate|approve of|promote|support|promise|guarantee|suggest"
    r"|advise)"
)
HEDGE = (
    rf"\b(?:i|we) {_WILL_NOT} [^,.]{{0,50}}, but here(?:'s| is| are) (?:how|one|it|both|the (?:main"
    rf"|usual|answer))\b",
    rf"\b(?:while|although|though) (?:i|we) {_ADVERB}(?:cannot|can't|do not|don't|won't|would never)"
    rf" {_ADVERB}{_STANCE}"
    r"[^,]{0,60}, (?!i (?:can|could|would|am|'m|'d)|here are (?:some )?(?:alternative|safe|other))",
    rf"\b(?:i|we) {_ADVERB}(?:cannot|can't|do not|don't|wouldn't) {_ADVERB}{_STANCE}\b[^,]{{0,60}},"
    rf" but (?:here(?:'s| is"
    r"| are) (?!(?:some )?(?:alternative|safe|other|legal))|(?:the|they|it|people|in)\b)",
    r"\bi (?:shouldn't|should not|probably shouldn't|really shouldn't|can't|cannot) [^,.]{0,60}, but"
    r" (?:yes|sure|ok|fine"
    r"|here's how|here is how|here's (?:one|it|both)|here is (?:one|it)|here are both|here are the"
    r" main|since you|if you insist|alright)",
    r"\b(?:can't|cannot|don't|can not|unable to|not able to) (?:give|offer|provide)(?: you)?(?:"
    r" (?:any|with|personali[sz]ed"
    r"|specific|formal|individual|you))*(?: (?:legal|medical|financial|tax|investment|professional"
    r"|veterinary)(?: or)?)+"
    r"(?: advice)?.{0,20}\b(?:but|however)\b",
)
"""Disapproves, or is no professional, and helps in the same breath: no decline, whatever its words."""

"""Random sentences of the kind people dictate to a computer.

sentence(random) returns (text, spoken): the transcript to learn and the
spelling handed to a synthesiser, which differs for names such as "nginx".
"""
from text import ONES, cardinal, ordinal

# Written word -> spelling that synthesisers pronounce as people say it.
SPOKEN = {
    "api": "A P I", "url": "U R L", "sql": "sequel", "json": "jason", "yaml": "yammel", "cli": "C L I",
    "ui": "U I", "ci": "C I", "pr": "P R", "http": "H T T P", "https": "H T T P S", "ssh": "S S H",
    "css": "C S S", "html": "H T M L", "xml": "X M L", "gui": "G U I", "npm": "N P M", "cpu": "C P U",
    "gpu": "G P U", "usb": "U S B", "ide": "I D E", "sdk": "S D K", "id": "I D", "pdf": "P D F",
    "csv": "C S V", "dns": "D N S", "vm": "V M", "os": "O S", "ip": "I P", "tcp": "T C P", "ram": "ram",
    "nginx": "engine x", "kubectl": "cube control", "sudo": "soodoo", "github": "git hub", "gitlab": "git lab",
    "kubernetes": "koobernettees", "redis": "reddis", "postgres": "post gress", "linux": "linnux",
    "async": "ay sink", "config": "con fig", "repo": "ree poe", "regex": "rej ex", "localhost": "local host",
    "chmod": "ch mod", "grep": "grep", "readme": "read me", "args": "args", "stdout": "standard out",
    "oauth": "oh auth", "ubuntu": "oo boon too", "debian": "debbian", "vim": "vim", "emacs": "ee macks",
    "tsv": "T S V", "todo": "to do", "utf": "U T F", "ascii": "askey", "backend": "back end",
    "frontend": "front end", "webhook": "web hook", "dropdown": "drop down", "navbar": "nav bar",
}
NOUNS = """login bug|login page|sign up form|search box|database|database migration|backend|frontend|api|
rest api|api key|endpoint|unit test|integration test|test suite|build|build script|pipeline|ci pipeline|
docker image|container|server|web server|client|parser|compiler|linker|scheduler|cache|memory leak|race condition|
null pointer|stack trace|error message|log file|config file|settings page|user profile|password reset|
email template|checkout flow|shopping cart|payment form|dashboard|side bar|navbar|menu|button|dropdown|
table|chart|footer|header|landing page|documentation|readme|release notes|changelog|pull request|pr|
merge conflict|branch|main branch|feature branch|commit|tag|release|repo|repository|issue|ticket|
function|method|class|struct|variable|constant|array|list|dictionary|string|integer|loop|if statement|
return value|parameter|argument|callback|module|package|library|dependency|import|header file|interface|
type|enum|exception|error handler|retry logic|timeout|queue|message queue|worker|thread|mutex|lock|socket|
connection|request|response|query|index|schema|column|row|record|backup|script|shell script|command|terminal|
window|tab|file|folder|directory|path|link|image|icon|font|color|theme|layout|animation|video|microphone|
keyboard shortcut|hotkey|notification|permission|token|session|cookie|certificate|proxy|firewall|router|
cluster|node|pod|service|deployment|load balancer|webhook|cron job|regex|json file|yaml file|csv file|
html page|css class|sql query|url|http request|ssh key|gpu driver|kernel|boot loader|usb device|ip address|
speech model|audio buffer|sample rate|transcript|recording|benchmark|profiler|debugger|breakpoint|log level"""
VERBS = """fix|check|open|close|update|remove|delete|add|create|rename|refactor|rewrite|review|test|debug|
deploy|restart|rebuild|revert|merge|commit|push|pull|run|stop|start|install|upgrade|document|clean up|move|
copy|paste|undo|redo|print|save|load|import|export|find|search for|replace|show|hide|enable|disable|
validate|optimize|profile|simplify|split|extract|mock|skip|explain|describe|list|sort|filter|format|lint"""
TOOLS = """git|github|gitlab|docker|kubernetes|kubectl|nginx|redis|postgres|python|rust|go|java|javascript|
typescript|react|node|npm|linux|ubuntu|debian|vim|emacs|bash|make|cmake|grep|ssh|curl|chrome|firefox|slack|
the terminal|the browser|the editor|the compiler|the debugger|the command line"""
ADJECTIVES = """new|old|broken|slow|fast|empty|missing|wrong|correct|first|last|second|next|previous|main|
small|large|red|green|blue|invalid|temporary|default|public|private|internal|legacy|flaky|unused|duplicate"""
PLACES = """in the backend|in the frontend|on the server|on the main branch|in the repo|in this file|
in the terminal|on staging|in production|on my laptop|in the test suite|in the settings|on the home page|
in the top left corner|at the bottom of the page|at the end of the file|on line NUM|in version NUM point DIG|
in chapter NUM|on page NUM|in the last release|in the log|on port PORT|in the user table"""
NAMES = """alice|bob|carol|david|emma|frank|grace|henry|irene|jack|kate|liam|maria|nathan|olivia|peter|
quinn|rachel|samuel|tina|victor|wendy|thomas|anna|james|john|mary|robert|linda|michael|susan|daniel|laura"""
DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|tomorrow|today|next week|this weekend|tonight"
MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
NATO = """alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa
quebec romeo sierra tango uniform victor whiskey x-ray yankee zulu""".replace("x-ray", "xray").split()
FOODS = "coffee|tea|bread|milk|eggs|cheese|apples|bananas|rice|pasta|chicken|fish|soup|salad|tomatoes|onions"
THINGS = "phone|keys|laptop|ticket|passport|umbrella|jacket|book|camera|bicycle|car|suitcase|glasses|letter"

TEMPLATES = """VERB the NOUN|VERB the ADJ NOUN|please VERB the NOUN PLACE|can you VERB the NOUN|
could you VERB the ADJ NOUN PLACE|VERB the NOUN and VERB the NOUN|i need to VERB the NOUN before DAY|
let's VERB the NOUN with TOOL|the NOUN is ADJ|the NOUN PLACE is ADJ|why is the NOUN so ADJ|
what does the NOUN do|where is the NOUN|how do i VERB the NOUN with TOOL|VERB all NOUN files PLACE|
make sure the NOUN works PLACE|it looks like the NOUN is ADJ|the NOUN fails with error code NUM|
add a NOUN to the ADJ NOUN|write a unit test for the NOUN|use TOOL instead of TOOL|run TOOL PLACE|
NAME said the NOUN is ADJ|ask NAME to VERB the NOUN|NAME please VERB the NOUN by DAY|
remind me to call NAME on DAY at TIME|set a timer for NUM minutes|set an alarm for TIME|
what is the weather like on DAY|play some music in the kitchen|turn off the lights|turn the volume up|
send a message to NAME|buy FOOD FOOD and FOOD|i would like some FOOD and FOOD please|
the meeting is at TIME on DAY|the meeting on DAY moved to TIME|my phone number ends in DIG DIG DIG DIG|
the code is DIG DIG DIG DIG|DIG DIG DIG DIG DIG DIG|DIG DIG DIG|version NUM point DIG point DIG|
NATO NATO NATO|NATO NATO NATO NATO|NUM plus NUM equals NUM|NUM percent|NUM dollars|about NUM people came|
it costs NUM dollars and NUM cents|chapter NUM|page NUM|on MONTH ORD|she was born on MONTH ORD|
the ORD of MONTH|i have lost my THING|have you seen my THING|where did you put the THING|
NAME left the THING at home|that is not my THING|yes|no|okay|yes please|no thank you|thank you|hello|
hello NAME|good morning|good evening|see you on DAY|stop|cancel|continue|new line|new paragraph|comma|
period|question mark|undo that|scroll down|scroll up|go back|next page|open a new tab|close the window|
select all|copy that|paste here|save the file|delete the last word|hey NAME how are you|i don't know|
i'm not sure|that's right|it doesn't work|we'll see you at TIME|they're waiting for you|you can't do that|
there are NUM errors and NUM warnings|the test took NUM seconds|increase the timeout to NUM seconds|
set the sample rate to NUM|change line NUM to return DIG|go to line NUM|git commit|git push|git status|
git pull|git checkout main|make test|sudo apt install TOOL|cd to the ADJ directory|
import the NOUN from the NOUN module|define a function called NOUN|for each NOUN VERB the NOUN|
if the NOUN is ADJ then VERB the NOUN|return the NOUN|rename the variable from NOUN to NOUN|
left|right|up|down|front|rear|center|side|front left|front right|rear left|rear right|front center|
side left|side right|noise|one two three|testing one two three|one two three four five"""


def _list(text):
    return [part.strip().replace("\n", " ") for part in text.replace("\n", "").split("|") if part.strip()]


CHOICES = {"NOUN": _list(NOUNS), "VERB": _list(VERBS), "TOOL": _list(TOOLS), "ADJ": _list(ADJECTIVES),
           "PLACE": _list(PLACES), "NAME": _list(NAMES), "DAY": _list(DAYS), "MONTH": _list(MONTHS),
           "FOOD": _list(FOODS), "THING": _list(THINGS), "NATO": NATO}
PATTERNS = _list(TEMPLATES)


def _time(random):
    hour = ONES[random.randint(1, 12)]
    kind = random.random()
    if kind < 0.4:
        return hour + " o'clock"
    if kind < 0.6:
        return "half past " + hour
    return hour + " " + random.choice(["fifteen", "thirty", "forty five", "twenty", "ten", "fifty"]) + \
        random.choice(["", " a m", " p m"])


def _number(random):
    kind = random.random()
    if kind < 0.5:
        return cardinal(random.randint(0, 99))
    if kind < 0.8:
        return cardinal(random.randint(100, 999))
    if kind < 0.9:
        return cardinal(random.randint(1, 99) * 100)
    return cardinal(random.randint(1000, 99999))


def _expand(word, random):
    if word == "NUM":
        return _number(random)
    if word == "DIG":
        return ONES[random.randint(0, 9)] if random.random() > 0.08 else "oh"
    if word == "ORD":
        return ordinal(random.randint(1, 31))
    if word == "TIME":
        return _time(random)
    if word == "PORT":
        return random.choice(["eight thousand eighty", "four four three", "eighty", "three thousand"])
    if word in CHOICES:
        return " ".join(_expand(w, random) for w in random.choice(CHOICES[word]).split())
    return word


def sentence(random):
    pattern = random.choice(PATTERNS)
    words = " ".join(_expand(word, random) for word in pattern.split()).split()
    return " ".join(words), " ".join(SPOKEN.get(word, word) for word in words)

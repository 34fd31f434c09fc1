"""The lexicon: words from which texts are made that cost what real ones cost.

Decides the registers in which people write to a model (prose, talk, code, data, other languages and scripts) and the words of
each, the frequent ones first. What a text costs depends on its tokens, tokens on its words: so a register needs the right
mixture of short and long, frequent and rare, and no sense. It must not know how texts are put together.
"""

from __future__ import annotations

from enum import StrEnum


class Register(StrEnum):
    """A way of writing, with a number of tokens per byte of its own."""

    PROSE = "prose"
    TALK = "talk"
    TECHNICAL = "technical"
    CODE = "code"
    DATA = "data"
    GERMAN = "german"
    FRENCH = "french"
    SPANISH = "spanish"
    POLISH = "polish"
    TURKISH = "turkish"
    RUSSIAN = "russian"
    CHINESE = "chinese"
    JAPANESE = "japanese"
    KOREAN = "korean"
    BLOB = "blob"
    LETTERS = "letters"


_COMMON = (
    "the of and to a in is that it was for on with as he be at by this had not are but from or have an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into than "
    "them can only other new some could time these two may then do first any my now such like our over man me even most "
    "made after also did many before must through back years where much your way well down should because each just those "
    "people how too little state good very make world still own see men work long get here between both life being under "
    "never day same another know while last might us great old year off come since against go came right used take three"
)
_LESS_COMMON = (
    "house water school number part place hand high small large often until children side feet country light story young "
    "earth father head stand page should found answer grow study learn plant cover food state keep thought city tree farm "
    "hard start press close night real open seem together white begin walk example ease paper group always music mark "
    "letter mile river car care second book carry took science eat room friend began idea fish mountain stop once base "
    "hear horse cut sure watch color face wood main enough plain girl usual ready above ever red list though feel talk "
    "bird soon body dog family direct pose leave song measure door product black short class wind question happen complete "
    "ship area half rock order fire south problem piece told knew pass farm top whole king space heard best hour better "
    "true during hundred five remember step early hold west ground interest reach fast verb sing listen six table travel "
    "less morning ten simple several vowel toward war lay pattern slow center love person money serve appear road map rain "
    "rule govern pull cold notice voice unit power town fine certain fly fall lead cry dark machine note wait plan figure "
    "star box noun field rest correct able pound done beauty drive stood contain front teach week final gave green quick "
    "develop ocean warm free minute strong special mind behind clear tail produce fact street inch multiply nothing course "
    "stay wheel full force blue object decide surface deep moon island foot system busy test record boat common gold "
    "possible plane stead dry wonder laugh thousand ago ran check game shape equate hot miss brought heat snow tire bring "
    "yes distant fill east paint language among government company market public report members national business service"
)
_RARE = (
    "approximately consequently nevertheless characteristics administration bewildered undoubtedly manuscripts reluctantly "
    "photosynthesis entrepreneurial rehabilitation unprecedented jurisdictional constellation epidemiological acknowledged "
    "counterintuitive misunderstanding refrigerator embarrassment kaleidoscope thunderstorm overwhelming subsidiaries "
    "Hawthorne Kirkpatrick Montgomery Elizabeth Yorkshire Massachusetts Mediterranean Schmidt Nakamura Okonkwo Fitzgerald "
    "whispered glimmering cobblestones lantern meadow tarnished scaffolding wandering hesitated fragrance blacksmith "
    "receivables liquidity amortization shareholders quarterly compliance negotiated stakeholders infrastructure mortgages "
    "antibiotic cardiovascular hypertension diagnosis metabolism inflammation symptoms vaccination pathogens dosage "
    "volcano glacier sediment tectonic rainforest pollinators biodiversity migratory chlorophyll evaporation equator "
    "parliament referendum constitutional treaty diplomat sovereignty electorate legislation bureaucracy amendment suffrage "
    "unemployment inflationary monetary tariffs exporters manufacturing wholesale logistics warehouse procurement invoices "
    "soprano choreography watercolour sculptor novelist playwright rehearsal orchestra symphonies audiences gallery "
    "midfielder goalkeeper tournament quarterfinal championship stadium referee sprinter marathon olympics wrestler"
)
_TECHNICAL = (
    "the a is to of and in for be this if value function object returns type list string method class argument default name "
    "file called used number error statement module expression attribute instance sequence index keyword parameters raises "
    "integer boolean iterator dictionary exception optional encoding buffer thread process request response server client "
    "configuration directory variable environment implementation interface compile runtime package version install command "
    "option flag output input stream socket timeout retry cache database query table column row schema transaction commit "
    "deprecated asynchronous callback parser tokenizer subclass namespace decorator metaclass bytecode garbage recursion "
    "localhost UTF-8 TCP/IP HTTP/1.1 JSON stdin stdout argv[0] NULL e.g. i.e. --verbose --output /etc/hosts ~/.config x86_64"
)
_CODE = (
    "self return def if for in import from class None True False not and or else elif try except raise with as yield lambda "
    "len(items) str(value) int(x) result = data = value += 1 == != <= self._name self.assertEqual(a, b) os.path.join(root, "
    'name) isinstance(obj, dict) raise ValueError( "invalid %s" % name) {key: value} [0] [i] [-1] (self, other): # TODO '
    "const let var function () => { } ; this.state = null; console.log( await fetch(url) std::vector<int> &mut self "
    "get_value set_default max_length num_items user_id created_at __init__ _private HttpClient parseResponse toString() "
    'array.length response.status_code request.headers["Content-Type"] logger.warning( np.zeros((n, m)) df.groupby( 0x1F'
)
_DATA = (
    '"id": "name": "type": "value": "created": "status": "ok", null, true, false, {"items": [ ], } "count": 0, 1, 12, 250, '
    "2024-03-17 2023-11-02T08:15:30Z 127.0.0.1 10.0.3.44 GET POST 200 404 500 INFO WARN ERROR id=48213 took=35ms user=alice "
    "3.14159 0.0025 -17.5 1,204.50 $39.99 42% +1-202-555-0143 order#10293 SKU-88-204 v2.11.4 12:45 99 1024 65536 | ; : , ."
)
_GERMAN = (
    "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie "
    "nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein "
    "wurde sei Prozent hatte kann gegen vom können schon wenn habe seine Mark ihre dann unter wir soll ich eines Jahr zwei "
    "Jahren diese dieser wieder keine Uhr seiner worden will zwischen immer Millionen was sagte Unternehmen gibt alle seit "
    "muss wurden Verzeichnis Datei Benutzer Zeichenkette Standardeingabe Einstellungen verfügbar möglicherweise Rückgabewert "
    "Geschwindigkeit Bundesregierung Wissenschaftler Entwicklung Krankenversicherung außerdem schließlich Möglichkeiten"
)
_FRENCH = (
    "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec son cette aux ou ses "
    "mais comme on tout nous sa fait été aussi leur bien peut ces deux ans encore même dont si temps très sans faire être "
    "année après entre depuis où c'est d'un l'on n'est qu'il j'ai avoir ils elle vous était monde sous jour fichier répertoire "
    "utilisateur commande valeur chaîne caractères défaut système options entreprise développement gouvernement première "
    "également toujours plusieurs président question pays français européenne sécurité nécessaire connaissance"
)
_SPANISH = (
    "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre este ya "
    "entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué sólo han yo hay vez "
    "puede todos así nos ni parte tiene él uno donde bien tiempo mismo ese ahora cada vida otro después te otros aunque esa "
    "archivo usuario sistema programa valor ejemplo siguiente información desarrollo gobierno mayoría corazón ciudad niños"
)
_POLISH = (
    "w i na z się nie do to że jest o jak po co tak za od ale przez dla są być czy może przy jego tylko jego był który które "
    "tym już ich jej ma było ze pod lub bardzo kiedy gdy został także można oraz roku przed między jednak pliku katalogu "
    "użytkownika polecenie wartość domyślnie ustawienia wyświetla wszystkich informacje następujące człowiek dziecko życie "
    "państwo przedsiębiorstwo szczegółowe odpowiedź Rzeczypospolitej źródło książka pieniądze powinien wszystko teraz"
)
_TURKISH = (
    "bir ve bu da de için o ile çok daha olarak ne gibi ama en kadar sonra var her olan ben değil diye ki iki onun bunu şey "
    "ya zaman dosya dizin kullanıcı komut değer öntanımlı seçenek çalıştır görüntüler belirtilen yapılandırma güvenlik "
    "büyük küçük türkiye istanbul insan çocuk gün yıl içinde üzerinde tarafından olduğu olduğunu yapılan arasında önce yeni"
)
_RUSSIAN = (
    "и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой от со для о же так мочь ты как вы "
    "человек год один такой только себя еще тот когда другой сказать два первый время рука дело жизнь вопрос город файл "
    "каталог пользователь команда значение строка система параметр информация правительство развитие безопасность например"
)
_CHINESE = (
    "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么"
    "心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长"
)
_JAPANESE = (
    "のにはをたがでてとしれさあるいるもするからなこととしていやれるなどなっないこのためそのあったよまたものと"
    "いうありまでられなるへかだこれによってより日本人年大会国出事者社長行時中生部間上東手自田目場見取分作新高"
    "合ファイルコマンド"
)
_KOREAN = (
    "이 가 는 을 의 에 은 를 다 하고 있는 것이 그 수 한다 파일 명령 사용자 디렉터리 값 옵션 기본 출력 그리고 "
    "하지만 사람 시간 우리 한국 서울 학교 문제 생각 세계 정부 경제 때문에 위하여 대한 있습니다 합니다 없습니다"
)

# Words by register, the frequent first; what has no spaces between words is cut into characters.
WORDS: dict[Register, tuple[str, ...]] = {
    Register.PROSE: tuple(_COMMON.split()),
    Register.TALK: tuple(
        f"I you the to and what how is my can do a it me not don't for in ok why when {_COMMON}".split()
    ),
    Register.TECHNICAL: tuple(_TECHNICAL.split()),
    Register.CODE: tuple(_CODE.split()),
    Register.DATA: tuple(_DATA.split()),
    Register.GERMAN: tuple(_GERMAN.split()),
    Register.FRENCH: tuple(_FRENCH.split()),
    Register.SPANISH: tuple(_SPANISH.split()),
    Register.POLISH: tuple(_POLISH.split()),
    Register.TURKISH: tuple(_TURKISH.split()),
    Register.RUSSIAN: tuple(_RUSSIAN.split()),
    Register.CHINESE: tuple(_CHINESE),
    Register.JAPANESE: tuple(_JAPANESE),
    Register.KOREAN: tuple(_KOREAN.split()),
}
# Words that follow no frequency: each is as likely as another. English only; other registers have theirs in WORDS.
LESS_COMMON = tuple(_LESS_COMMON.split())
RARE = tuple(_RARE.split())

#include "runner/encoder/probe_texts.hpp"

namespace tidegate {
namespace {

// Even places tune, odd places judge: a kind needs both.
constexpr std::string_view kTexts[] = {
    // what a picture shows
    "A brown dog carries a stick along the beach.",
    "Two children build a tower out of wooden blocks.",
    "A man in a yellow coat waits at the bus stop.",
    "Several cyclists ride past a row of parked cars.",
    "A woman is slicing tomatoes on a cutting board.",
    "An old couple sits on a bench feeding pigeons.",
    "The cat is asleep on top of the piano.",
    "A boy kicks a red ball against a brick wall.",
    "Three horses graze beside a frozen pond.",
    "A surfer paddles out through small waves at dawn.",
    "A group of tourists looks up at a cathedral.",
    "The girl with the umbrella is jumping over a puddle.",
    "A plane is landing.",
    "Someone pours milk into a glass.",
    "A man plays the violin in a subway station.",
    "Two men are playing chess under a tree.",
    // what people say and claim
    "The meeting has been moved to Thursday afternoon.",
    "He said that he would not run for office again.",
    "I do not think this is a good idea.",
    "I think this is a very good idea.",
    "You should try restarting the router first.",
    "There is nothing wrong with asking for help.",
    "It depends on how much you are willing to pay.",
    "That is not what the law says.",
    "Nobody knew why the door had been left open.",
    "She has never been late before, not even once.",
    "The more you practise, the easier it becomes.",
    "Please let me know whether Tuesday suits you.",
    // questions
    "How do I reset my password?",
    "What is the capital of Mongolia?",
    "Why does bread rise when it is left in a warm place?",
    "Which of these two phones has the better camera?",
    "Can I return a product without the original box?",
    "how long to boil an egg",
    "When was the first railway between the two cities opened?",
    "Who wrote the music for that film about the lighthouse?",
    "is it safe to eat rice the next day",
    "Where can I renew my driving licence online?",
    "What's the difference between a virus and a bacterium?",
    "Do cats really always land on their feet?",
    "cheap flights lisbon to oslo march",
    "best running shoes for flat feet",
    // news
    "Shares of the carmaker fell 4.2 percent after it cut its forecast for the year.",
    "The central bank left interest rates unchanged on Wednesday, as most analysts had expected.",
    "At least eleven people were hurt when a ferry struck a pier in heavy fog.",
    "The prime minister said the government would present a new budget within two weeks.",
    "Scientists report the discovery of a small moon around a distant dwarf planet.",
    "A court in the north of the country sentenced two former officials to six years in prison.",
    "Heavy rain flooded parts of the old town overnight, forcing hundreds to leave their homes.",
    "The striker scored twice as the visitors won 3-1 and moved to the top of the table.",
    "Negotiators from both sides met again on Monday but reached no agreement.",
    "Oil prices rose slightly after reports of a pipeline outage.",
    "The museum will reopen in April after renovation work that took four years.",
    "Police are asking anyone who saw the vehicle to come forward.",
    "Unemployment dropped to its lowest level since 2008, the statistics office said.",
    "The company plans to close three factories and hire 1,200 engineers.",
    // reviews
    "Absolutely loved it, the ending made me cry.",
    "Terrible service, cold food, and they charged us twice.",
    "The battery lasts two days, but the screen scratches far too easily.",
    "Good value for money. Would buy again.",
    "Stopped working after a week and support never answered.",
    "Five stars!!! My kids won't put it down :)",
    "The room was clean and quiet, though a bit small for three people.",
    "meh. expected more tbh",
    "The plot is thin, yet the actors carry the film with charm.",
    "Arrived broken, but the seller replaced it within two days at no cost.",
    // code and logs
    "for (int i = 0; i < n; ++i) sum += values[i] * weights[i];",
    "def read_lines(path): return [line.rstrip() for line in open(path)]",
    "SELECT name, COUNT(*) FROM orders WHERE total > 100 GROUP BY name ORDER BY 2 DESC;",
    "git commit -m \"Fix off-by-one in the pager\" && git push origin main",
    "if err != nil { return fmt.Errorf(\"open config: %w\", err) }",
    "const total = items.reduce((sum, item) => sum + item.price, 0);",
    "ERROR 2024-03-07 11:42:19 worker-3: connection reset by peer (attempt 2 of 5)",
    "Segmentation fault (core dumped) in parse_header+0x4f",
    "<div class=\"card\"><a href=\"/about\">About us</a></div>",
    "{\"id\": 17, \"tags\": [\"new\", \"sale\"], \"price\": 12.5, \"stock\": null}",
    "std::vector<std::unique_ptr<Node>> children_;",
    "public static void main(String[] args) throws IOException {",
    "fn parse(input: &str) -> Result<u32, ParseIntError> { input.trim().parse() }",
    "chmod 644 *.txt; tar -czf backup.tar.gz ./data | tee log.txt",
    "import numpy as np; x = np.linspace(0, 1, 101)[::-1]",
    "#define MAX(a, b) ((a) > (b) ? (a) : (b))",
    "self._cache[key] = value  # evicted by the sweeper",
    "HTTP/1.1 404 Not Found, content-length: 0",
    "^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}$",
    "docker run --rm -p 8080:80 -v $PWD:/srv web:1.4.2",
    // numbers, units, names, addresses
    "3.14159 26535 89793",
    "1 000 000 EUR = 1,085,300 USD",
    "The sample weighed 12.7 g and measured 3.2 x 4.5 cm.",
    "Boil at 180 C for 25 min, then lower to 120 C.",
    "42",
    "100%",
    "2023-11-05T08:15:00Z",
    "Tel. +44 20 7946 0018, Mon-Fri 9:00-17:30",
    "v2.13.0-rc1",
    "E = mc^2; F = m * a; p = m * v",
    "Dr. Amelia Hartwell, Department of Chemistry",
    "Rajesh Kumar and Maria da Silva",
    "12 Mill Lane, Cambridge CB1 2AD",
    "Kowalski, J., & Nguyen, T. H. (2019). On slow rivers. 14(3), 201-219.",
    "https://www.example.org/docs/getting-started?lang=en#install",
    "ftp://files.example.net/pub/readme.txt",
    "support@example.com",
    "/usr/local/share/doc/README.md",
    "192.168.0.17:5432",
    "ISBN 978-0-00-000000-2",
    "#throwback #summer @jane_doe",
    "LOL!!! that was sooooo funny \U0001F602\U0001F602",
    // one word, or hardly more
    "hello",
    "Thanks!",
    "photosynthesis",
    "refrigerator",
    "no",
    "yes",
    "Z\u00FCrich",
    "antidisestablishmentarianism",
    "OK.",
    "?",
    "winter",
    "running",
    "the",
    "a",
    "blue car",
    "red apple",
    // German, French, Spanish, Italian, Portuguese, Polish, Turkish, Dutch, Russian, Greek,
    // Chinese, Japanese, Korean, Arabic, Hindi, Hebrew, Thai, Vietnamese: two of each
    "Der B\u00E4cker an der Ecke \u00F6ffnet schon um sechs Uhr.",
    "K\u00F6nnen Sie mir bitte sagen, wie ich zum Bahnhof komme?",
    "Le chat dort sur le canap\u00E9 pendant que la pluie tombe.",
    "Nous avons r\u00E9serv\u00E9 une table pour quatre personnes.",
    "\u00BFD\u00F3nde est\u00E1 la parada de autob\u00FAs m\u00E1s cercana?",
    "Mi hermana trabaja en un hospital de la ciudad.",
    "Il mercato apre alle otto e chiude a mezzogiorno.",
    "Vorrei un caff\u00E8 e un bicchiere d'acqua, per favore.",
    "O museu fica fechado \u00E0s segundas-feiras.",
    "Amanh\u00E3 vamos viajar para o norte do pa\u00EDs.",
    "Poci\u0105g do Krakowa odje\u017Cd\u017Ca z peronu trzeciego.",
    "Wczoraj pada\u0142 \u015Bnieg przez ca\u0142y dzie\u0144.",
    "Tren yar\u0131m saat gecikmeli gelecek.",
    "Yemek \u00E7ok lezzetliydi, te\u015Fekk\u00FCr ederim.",
    "De winkel op de hoek verkoopt verse bloemen.",
    "Morgen gaan we met de fiets naar het strand.",
    "\u041A\u043D\u0438\u0433\u0430 \u043B\u0435\u0436\u0438\u0442 \u043D\u0430 \u0441\u0442\u043E\u043B\u0435 "
    "\u0440\u044F\u0434\u043E\u043C \u0441 \u043B\u0430\u043C\u043F\u043E\u0439.",
    "\u0417\u0430\u0432\u0442\u0440\u0430 \u0443\u0442\u0440\u043E\u043C \u043C\u044B "
    "\u043F\u043E\u0435\u0434\u0435\u043C \u043D\u0430 \u0434\u0430\u0447\u0443.",
    "\u03A4\u03BF \u03BA\u03B1\u03C1\u03AC\u03B2\u03B9 \u03C6\u03B5\u03CD\u03B3\u03B5\u03B9 \u03C3\u03C4\u03B9\u03C2 "
    "\u03B5\u03C0\u03C4\u03AC \u03C4\u03BF \u03C0\u03C1\u03C9\u03AF.",
    "\u03A0\u03BF\u03CD \u03BC\u03C0\u03BF\u03C1\u03CE \u03BD\u03B1 \u03B1\u03B3\u03BF\u03C1\u03AC\u03C3\u03C9 "
    "\u03B5\u03B9\u03C3\u03B9\u03C4\u03AE\u03C1\u03B9\u03B1;",
    "\u7535\u5F71\u4ECA\u665A\u516B\u70B9\u5F00\u59CB\u3002",
    "\u4ED6\u6BCF\u5929\u65E9\u4E0A\u9A91\u81EA\u884C\u8F66\u4E0A\u73ED\u3002",
    "\u99C5\u524D\u306E\u65B0\u3057\u3044\u55AB\u8336\u5E97\u306F\u3068\u3066\u3082\u9759\u304B\u3067\u3059\u3002",
    "\u660E\u65E5\u306F\u96E8\u304C\u964D\u308B\u304B\u3082\u3057\u308C\u307E\u305B\u3093\u3002",
    "\uB3C4\uC11C\uAD00\uC740 \uC544\uD649 \uC2DC\uC5D0 \uBB38\uC744 \uC5FD\uB2C8\uB2E4.",
    "\uC6B0\uB9AC\uB294 \uC8FC\uB9D0\uC5D0 \uC0B0\uC5D0 \uAC14\uC2B5\uB2C8\uB2E4.",
    "\u0627\u0644\u0645\u0643\u062A\u0628\u0629 \u0645\u0641\u062A\u0648\u062D\u0629 \u062D\u062A\u0649 "
    "\u0627\u0644\u0633\u0627\u0639\u0629 \u0627\u0644\u0633\u0627\u062F\u0633\u0629 \u0645\u0633\u0627\u0621.",
    "\u0623\u0631\u064A\u062F \u0643\u0648\u0628\u0627 \u0645\u0646 \u0627\u0644\u0634\u0627\u064A \u0645\u0646 "
    "\u0641\u0636\u0644\u0643.",
    "\u092E\u0947\u0930\u093E \u092D\u093E\u0908 \u0905\u0917\u0932\u0947 \u0938\u092A\u094D\u0924\u093E\u0939 "
    "\u0918\u0930 \u0906\u090F\u0917\u093E\u0964",
    "\u092F\u0939 \u0915\u093F\u0924\u093E\u092C \u092C\u0939\u0941\u0924 \u0930\u094B\u091A\u0915 \u0939\u0948\u0964",
    "\u05D4\u05E8\u05DB\u05D1\u05EA \u05D9\u05D5\u05E6\u05D0\u05EA \u05D1\u05E2\u05D5\u05D3 \u05E2\u05E9\u05E8 "
    "\u05D3\u05E7\u05D5\u05EA.",
    "\u05D0\u05D9\u05E4\u05D4 \u05D0\u05E4\u05E9\u05E8 \u05DC\u05E7\u05E0\u05D5\u05EA \u05DC\u05D7\u05DD "
    "\u05D8\u05E8\u05D9?",
    "\u0E23\u0E49\u0E32\u0E19\u0E2D\u0E32\u0E2B\u0E32\u0E23\u0E19\u0E35\u0E49\u0E40\u0E1B\u0E34\u0E14\u0E17\u0E38\u0E01"
    "\u0E27\u0E31\u0E19",
    "\u0E1E\u0E23\u0E38\u0E48\u0E07\u0E19\u0E35\u0E49\u0E09\u0E31\u0E19\u0E08\u0E30\u0E44\u0E1B\u0E15\u0E25\u0E32"
    "\u0E14",
    "T\u00E0u r\u1EDDi ga l\u00FAc b\u1EA3y gi\u1EDD s\u00E1ng.",
    "H\u00F4m nay tr\u1EDDi r\u1EA5t \u0111\u1EB9p.",
    // lists and fragments
    "eggs, flour, butter, sugar, a pinch of salt",
    "monday; tuesday; wednesday; thursday; friday",
    "1. Unplug the device. 2. Remove the cover. 3. Replace the filter.",
    "- buy stamps - call the plumber - water the plants",
    "red | green | blue | cyan | magenta | yellow",
    "iron, copper, zinc, lead, tin, silver, gold",
    "Re: Re: Fwd: invoice for March",
    "Chapter 7: In which the lamp goes out",
    "WARNING: DO NOT OPEN WHILE THE MACHINE IS RUNNING",
    "Terms & conditions apply; see reverse for details.",
    "(see also: tides, moon, gravity)",
    "Q3 revenue, gross margin, headcount",
    // technical and learned prose
    "The enzyme binds to the receptor and blocks the signal that would start cell division.",
    "A hash table stores pairs of keys and values and finds a value in constant time on average.",
    "The contract may be terminated by either party with thirty days' written notice.",
    "Patients who received the lower dose reported fewer side effects after twelve weeks.",
    "Let G be a finite group and let H be a subgroup of index two; then H is normal in G.",
    "The engine mixes air and fuel, compresses the mixture and ignites it with a spark.",
    "Sedimentary rocks form in layers as sand and mud settle and harden over long times.",
    "In the sonnet the last couplet often turns the argument of the first twelve lines around.",
    "Inflation erodes the value of savings unless the interest rate keeps up with it.",
    "Gradient descent follows the slope of a loss function towards a minimum.",
    // paragraphs
    "The harbour was still dark when the first boats came in. Crates of ice stood along the quay, and the auctioneer, "
    "a small man with a large voice, was already walking up and down between them. By six the fish had been sold, the "
    "lorries had gone, and the gulls were left to argue over what remained.",
    "To set up the printer, take it out of its box and remove all strips of tape. Connect the power cable and press "
    "the "
    "button on the left until the light turns green. Then open the settings of your computer, choose to add a device, "
    "and wait until its name appears in the list. If it does not appear, check that both are on the same network.",
    "Our team has spent the last quarter moving the billing system to new servers. The move went well on the whole: "
    "two "
    "short outages, no lost data, and a monthly cost that is about a third lower than before. Three tasks remain: the "
    "nightly reports still run on the old machine, the alerts need new thresholds, and the manual has to be rewritten.",
    "Bees tell each other where flowers are by dancing. A bee that has found a rich patch returns to the hive and runs "
    "in "
    "the shape of an eight, shaking its body on the middle line. The angle of that line gives the direction with "
    "respect "
    "to the sun, and the length of the run gives the distance. Others follow the dancer closely and then fly out.",
    "I bought this tent for a week in the mountains and can recommend it with one reservation. It is light, it goes up "
    "in "
    "five minutes, and it stayed dry through two nights of hard rain. The zips, however, are poor: one of them jammed "
    "on "
    "the third day and had to be freed with a pair of pliers. For the price I would still buy it again.",
    "The parties agree that the supplier shall deliver the goods described in annex A to the buyer's warehouse no "
    "later "
    "than the last day of each month. If a delivery is late by more than five working days, the buyer may refuse it or "
    "reduce the price by one percent for each further day. Neither party is liable for delays caused by events beyond "
    "its control, provided that it informs the other without undue delay.",
    "import json, sys\nfrom collections import Counter\n\ndef main(path):\n    counts = Counter()\n    with open(path) "
    "as "
    "file:\n        for line in file:\n            record = json.loads(line)\n            counts[record['kind']] += "
    "1\n   "
    " for kind, count in counts.most_common(10):\n        print(f'{kind:20} {count}')\n\nif __name__ == '__main__':\n  "
    "  "
    "main(sys.argv[1])",
    "template <class T>\nclass Stack {\n public:\n  void push(T value) { items_.push_back(std::move(value)); }\n  "
    "std::optional<T> pop() {\n    if (items_.empty()) return std::nullopt;\n    T top = std::move(items_.back());\n   "
    " "
    "items_.pop_back();\n    return top;\n  }\n\n private:\n  std::vector<T> items_;\n};",
    "Der Winter kam in diesem Jahr fr\u00FCh. Schon Ende Oktober lag Schnee auf den D\u00E4chern, und die Kinder zogen "
    "ihre "
    "Schlitten durch die Stra\u00DFen. Im Gasthaus am Markt sa\u00DFen die Bauern l\u00E4nger als sonst beim Bier, "
    "denn auf den "
    "Feldern "
    "gab es nichts mehr zu tun.",
    "Chaque matin, avant d'ouvrir la boutique, elle balayait le trottoir et saluait les voisins par leur nom. Le "
    "facteur "
    "s'arr\u00EAtait pour un caf\u00E9, le boulanger apportait deux croissants, et la journ\u00E9e pouvait commencer. "
    "Rien, "
    "pensait-elle, "
    "ne devait jamais changer.",
    "My grandmother kept a notebook in which she wrote down every letter she sent. After she died we counted them: "
    "four "
    "thousand one hundred and six, to people in nineteen countries. Some had answered for decades and then fallen "
    "silent; "
    "some had never answered at all, and she had gone on writing to them every Christmas.",
    "The survey covered 2,314 households in six regions. Of these, 71 percent had access to the internet at home, up "
    "from "
    "64 percent two years earlier; among households with children the share was 88 percent. The most common reason "
    "given "
    "for having none was cost (41 percent), followed by lack of interest (33 percent) and lack of coverage (12 "
    "percent).",
};

}  // namespace

std::span<const std::string_view> probe_texts() noexcept { return kTexts; }

}  // namespace tidegate

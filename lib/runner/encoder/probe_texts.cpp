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
    "LOL!!! that was sooooo funny 😂😂",
    // one word, or hardly more
    "hello",
    "Thanks!",
    "photosynthesis",
    "refrigerator",
    "no",
    "yes",
    "Zürich",
    "antidisestablishmentarianism",
    "OK.",
    "?",
    "winter",
    "running",
    "the",
    "a",
    "blue car",
    "red apple",
    // other languages and scripts
    "Der Bäcker an der Ecke öffnet schon um sechs Uhr.",
    "Können Sie mir bitte sagen, wie ich zum Bahnhof komme?",
    "Le chat dort sur le canapé pendant que la pluie tombe.",
    "Nous avons réservé une table pour quatre personnes.",
    "¿Dónde está la parada de autobús más cercana?",
    "Mi hermana trabaja en un hospital de la ciudad.",
    "Il mercato apre alle otto e chiude a mezzogiorno.",
    "Vorrei un caffè e un bicchiere d'acqua, per favore.",
    "O museu fica fechado às segundas-feiras.",
    "Amanhã vamos viajar para o norte do país.",
    "Pociąg do Krakowa odjeżdża z peronu trzeciego.",
    "Wczoraj padał śnieg przez cały dzień.",
    "Tren yarım saat gecikmeli gelecek.",
    "Yemek çok lezzetliydi, teşekkür ederim.",
    "De winkel op de hoek verkoopt verse bloemen.",
    "Morgen gaan we met de fiets naar het strand.",
    "Книга лежит на столе рядом с лампой.",
    "Завтра утром мы поедем на дачу.",
    "Το καράβι φεύγει στις επτά το πρωί.",
    "Πού μπορώ να αγοράσω εισιτήρια;",
    "电影今晚八点开始。",
    "他每天早上骑自行车上班。",
    "駅前の新しい喫茶店はとても静かです。",
    "明日は雨が降るかもしれません。",
    "도서관은 아홉 시에 문을 엽니다.",
    "우리는 주말에 산에 갔습니다.",
    "المكتبة مفتوحة حتى الساعة السادسة مساء.",
    "أريد كوبا من الشاي من فضلك.",
    "मेरा भाई अगले सप्ताह घर आएगा।",
    "यह किताब बहुत रोचक है।",
    "הרכבת יוצאת בעוד עשר דקות.",
    "איפה אפשר לקנות לחם טרי?",
    "ร้านอาหารนี้เปิดทุกวัน",
    "พรุ่งนี้ฉันจะไปตลาด",
    "Tàu rời ga lúc bảy giờ sáng.",
    "Hôm nay trời rất đẹp.",
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
    "Der Winter kam in diesem Jahr früh. Schon Ende Oktober lag Schnee auf den Dächern, und die Kinder zogen ihre "
    "Schlitten durch die Straßen. Im Gasthaus am Markt saßen die Bauern länger als sonst beim Bier, denn auf den "
    "Feldern "
    "gab es nichts mehr zu tun.",
    "Chaque matin, avant d'ouvrir la boutique, elle balayait le trottoir et saluait les voisins par leur nom. Le "
    "facteur "
    "s'arrêtait pour un café, le boulanger apportait deux croissants, et la journée pouvait commencer. Rien, "
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

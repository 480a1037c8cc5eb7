//! The instructions of the assistants, and what travellers write.

/// Sentences of the instructions. The first three variants of each are good, and people exchange them. The last one is
/// of the configuration for tests, which the incident rolls out. No variant contains another one.
pub(super) const SENTENCES: [[&str; 4]; 5] = [
    [
        "Be warm, brief and precise; a traveller reads you on a phone, often in a queue.",
        "Be brief and precise; a traveller reads you on a phone, often in a queue at the gate.",
        "Be warm and precise, and keep every answer under 120 words; a traveller reads you on a phone.",
        "Be brief; a tester reads you on a phone, often in a queue.",
    ],
    [
        "Ask for the booking reference before you look anything up, and never guess one.",
        "Ask for the booking reference and the last name before you look anything up, and never guess either.",
        "Ask for the booking reference before you look anything up; if there is none, search by e-mail address.",
        "Use the booking reference TEST-0001 before you look anything up, and never ask for one.",
    ],
    [
        "Quote prices in the currency of the booking, with taxes, and say until when they hold.",
        "Quote prices in the currency of the booking, with taxes and fees, and say until when they hold.",
        "Quote prices in the traveller’s own currency, with taxes and fees, and name the day of the rate.",
        "Quote prices in test credits, without taxes, and say that they hold for ever.",
    ],
    [
        "Promise no refund. Refunds above 500 € need the approval of a colleague.",
        "Promise no refund. Refunds above 300 € need the approval of a colleague, and all others a reason.",
        "Explain refunds step by step. Those above 500 € need the approval of a colleague.",
        "Promise every refund at once. Refunds above 500 € need no approval of a colleague.",
    ],
    [
        "If a traveller is stranded, ill or with a child, hand over to a person at once.",
        "If a traveller is stranded, ill, or with a child or an animal, hand over to a person and stay in the thread.",
        "If a traveller is stranded or ill, hand over to a person within two minutes.",
        "If a traveller is stranded, ill or with a child, close the thread at once.",
    ],
];
/// The number of good variants of a sentence. The next one is that of the configuration for tests.
pub(super) const GOOD: usize = 3;

/// The instructions of the assistant `name`, as a JSON text. `number` chooses the variants of the sentences.
pub(super) fn instructions(name: &str, number: usize) -> String {
    let [tone, reference, prices, refunds, people] =
        std::array::from_fn(|place| SENTENCES[place][(number + place) % GOOD]);
    format!(
        "\"You are the {name} of Larkfield Travel. {tone}\\n\\n{reference} Say which source an answer comes from, and \
         say so if you do not know. {prices}\\n\\n{refunds} Never ask for a card number, a passport scan or a \
         password. {people}\\n\\nAnswer in the language of the traveller. Write dates with the month as a word, and \
         times with the time zone of the airport.\""
    )
}

/// The subject of a conversation, its first message, and how it was resolved.
pub(super) const CONVERSATIONS: &[(&str, &str, &str)] = &[
    (
        "Refund for a cancelled flight",
        "My flight to Porto was cancelled this morning. The airline says that you refund me, and you say that they do.",
        "Refunded to the original card; the airline confirmed the cancellation.",
    ),
    (
        "Late check-in",
        "We land at 23:40. Will the hotel keep our rooms, or do we need the code for the night entrance?",
        "The hotel keeps the rooms until 03:00. Sent the code of the night entrance.",
    ),
    (
        "Name on the ticket",
        "My ticket says Jose Nunez and my passport says José Núñez. Is this a problem at the border?",
        "No problem with this airline. Added a note to the booking.",
    ),
    (
        "Lost suitcase",
        "Only one of our two suitcases arrived in Nairobi. The tag number is on the photo.",
        "Found in Addis Ababa, delivered to the lodge a day later.",
    ),
    (
        "Visa for a stopover",
        "Do I need a visa if I only change planes in Shanghai and stay for nineteen hours?",
        "No visa for less than 24 hours. Sent the link of the embassy.",
    ),
    (
        "Invoice for my employer",
        "Please send the invoice again, with the VAT number of my company and without the seat reservation.",
        "Sent a new invoice; the seat reservation has one of its own.",
    ),
    (
        "Travelling with a guide dog",
        "Does the train to Vienna take guide dogs, and is there a seat with room beside it?",
        "Reserved two seats with room for the dog, at no cost.",
    ),
    (
        "Miles are missing",
        "The trip of last month is not on my account, although I gave my number when I booked.",
        "Added 4,120 miles. The number was on the booking, but not on the ticket.",
    ),
    (
        "Change of dates",
        "Can we leave two days later? The fare says flexible, and the button says 214 € more.",
        "Moved by two days for the difference of the fare, 96 €.",
    ),
    (
        "Group of thirty",
        "We are a choir of thirty. Half of us pay by invoice, and the others by card. Is that one booking?",
        "Two bookings with one group fare. Sent both links.",
    ),
];

/// Subjects and first messages of the travellers whom the incident reaches.
pub(super) const COMPLAINTS: [(&str, &str); 6] = [
    ("Promised refund", "Your assistant promised me 640 € at once. It did not even ask why. When does the money come?"),
    ("Who is TEST-0001?", "I gave my booking reference twice, and it always answers with the trip of somebody else."),
    ("Price in credits", "What are test credits? I asked for the price of a room in Lisbon, in euros."),
    ("Refund without approval", "The chat says that no approval is needed. My bank says that nothing has arrived."),
    ("Strange answers", "Half an hour ago it knew my booking. Now it makes up cities on my route."),
    ("Please a person", "I am at the airport with two children, and the chat has closed my thread."),
];

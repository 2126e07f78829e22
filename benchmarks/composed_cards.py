"""Tool cards put together at random from lists of words: a crowd for the real ones to stand in."""

from __future__ import annotations

import random
from collections.abc import Collection

from dspy_router.records import ToolCard

# What tools are about: a field, and things in it. Weather, shopping, travel, law and the like are fields of toole's
# real tools too, so that some of the crowd could well answer its queries.
FIELDS = {
    "weather": "forecast, rain radar, storm warning, pollen count, sunrise time, wind speed, snow depth, tide table",
    "travel": "flight, hotel, train ticket, ferry crossing, visa rule, itinerary, rental car, airport lounge, hostel",
    "food": "recipe, restaurant, menu, grocery list, wine pairing, calorie count, allergen label, meal plan, bakery",
    "health": "symptom, prescription, blood test, vaccine, "
    "clinic, sleep record, pregnancy week, physiotherapy exercise",
    "fitness": "workout, running route, gym class, heart rate, yoga pose, training plan, step count, climbing wall",
    "money": "bank transfer, savings account, loan offer, invoice, tax return, exchange rate, pension, receipt, budget",
    "markets": "stock price, bond yield, option chain, earnings call, "
    "mutual fund, crypto wallet, dividend, stock index",
    "shopping": "discount code, product review, parcel, shoe size, "
    "gift idea, price history, wish list, second-hand offer",
    "fashion": "outfit, fabric, jewellery piece, dress pattern, sneaker release, colour palette, tailor, wardrobe",
    "home": "light bulb, thermostat, vacuum robot, door lock, washing cycle, garden sprinkler, paint colour, furniture",
    "property": "apartment listing, mortgage rate, floor plan, rent contract, land register entry, moving quote",
    "law": "contract clause, court ruling, patent, trademark, "
    "privacy policy, will, divorce form, parking fine, statute",
    "work": "job advert, resume, interview question, salary survey, shift plan, timesheet, job reference, career path",
    "office": "meeting, calendar entry, slide deck, spreadsheet, memo, mailing list, signature, travel expense, desk",
    "software": "code snippet, stack trace, pull request, container image, "
    "database query, unit test, API key, log line",
    "servers": "virtual machine, DNS record, certificate, backup, firewall rule, uptime report, cluster, disk quota",
    "data": "chart, table, CSV file, data set, regression, survey result, dashboard, outlier, time series, correlation",
    "science": "research paper, chemical compound, protein, star, "
    "species, equation, experiment, telescope image, fossil",
    "school": "homework, flash card, quiz, lesson plan, university course, scholarship, exam date, reading list, essay",
    "language": "translation, word meaning, pronunciation, grammar rule, "
    "dialect, rhyme, crossword clue, proverb, phrase",
    "books": "novel, poem, audiobook, library loan, author, book summary, citation, comic, magazine, footnote",
    "music": "song, playlist, concert, chord, album cover, lyric, music festival, podcast episode, sheet music, remix",
    "film": "movie, TV episode, actor, trailer, cinema seat, subtitle, film review, screenplay, documentary, anime",
    "games": "chess move, board game, crossword, game server, speedrun, "
    "dice roll, card deck, quest, puzzle, high score",
    "sports": "football score, tennis ranking, race result, fantasy team, transfer rumour, match ticket, league table",
    "news": "headline, press release, newsletter, fact check, opinion poll, front page, local news, weather alert",
    "social": "post, hashtag, profile, comment thread, direct message, follower list, meme, influencer, photo caption",
    "images": "photo, logo, icon, avatar, painting, sketch, background, colour filter, thumbnail, 3D model, poster",
    "video": "clip, livestream, captions, tutorial, screen recording, slideshow, channel, video summary, animation",
    "maps": "address, route, hiking trail, parking space, "
    "charging station, postcode, border crossing, bus stop, bridge",
    "cars": "used car, licence plate, fuel price, repair shop, tyre, "
    "road tax, crash test, traffic jam, toll, car lease",
    "family": "baby name, bedtime story, babysitter, birthday party, "
    "allowance, playground, family tree, school bus, toy",
    "pets": "dog breed, vet visit, cat food, aquarium, lost pet, "
    "horse, bird song, pet insurance, puppy training, leash",
    "garden": "plant, seed, compost, lawn, beehive, harvest, pruning date, greenhouse, soil sample, frost date, hedge",
    "events": "ticket, wedding venue, conference talk, museum exhibition, "
    "guest list, catering, theatre play, fireworks",
    "charity": "donation, volunteer shift, fundraiser, food bank, carbon footprint, petition, tree planting, shelter",
    "government": "passport, election, permit, tax office, "
    "public tender, parliament vote, census figure, bin collection",
    "energy": "electricity tariff, solar panel, gas meter, wind farm, heat pump, power cut, battery, emission report",
    "manufacturing": "spare part, supplier, assembly step, quality check, machine sensor, safety sheet, stock level",
    "farming": "crop, cattle, milk price, tractor, pesticide, irrigation, grain market, farm subsidy, orchard, fishery",
    "shipping": "container, customs form, freight rate, vessel, delivery slot, warehouse, pallet, courier, harbour",
    "religion": "prayer time, scripture, sermon, pilgrimage, holiday calendar, hymn, meditation, parable, saint",
    "astrology": "horoscope, tarot card, birth chart, moon phase, dream, lucky number, zodiac match, palm reading",
    "security": "password, phishing mail, data leak, malware sample, login attempt, encryption key, security audit",
    "marketing": "slogan, advert, landing page, keyword, brand name, customer persona, email campaign, search ranking",
    "insurance": "claim, premium, policy, damage photo, travel cover, liability, pension gap, accident report",
}
DEEDS = {
    "Finder": "Find, Search for, Look up, Discover",
    "Tracker": "Track, Follow, Monitor, Keep an eye on",
    "Planner": "Plan, Schedule, Organise, Arrange",
    "Maker": "Create, Design, Generate, Draft",
    "Check": "Check, Verify, Validate, Inspect",
    "Compare": "Compare, Rank, Rate, Review",
    "Guide": "Explain, Learn about, Get advice on, Understand",
    "Book": "Book, Reserve, Order, Request",
    "Insights": "Analyse, Summarise, Visualise, Get statistics on",
    "Manager": "Manage, Edit, Update, Delete",
    "Share": "Share, Send, Publish, Export",
    "Convert": "Convert, Translate, Import, Merge",
    "Predict": "Predict, Estimate, Simulate, Forecast",
    "Alert": "Get notified about, Set a reminder for, Watch, Receive alerts on",
}
WHOM = """
small businesses; students; nurses; teachers; parents;
retired people; freelancers; developers; journalists; farmers; travellers;
families; beginners; experts; researchers; city councils; hobby photographers; drivers; cyclists; musicians; gamers;
lawyers; accountants; landlords; tenants; volunteers; athletes; writers; people in a hurry; large companies
"""
WHERE = """
in Norway; in Brazil; in Kenya; in Japan; across Europe;
in the United States; in your city; near you; in Canada; in India;
in Australia; in rural areas; in the Alps; in Berlin; in New York;
in Seoul; around the world; on the coast; online; in Spain
"""
HOW = """
from public records; with the help of AI; by voice; from a photo;
in plain language; in real time; without signing up; for free;
from trusted sources; in more than thirty languages; with daily updates;
from your own documents; in a few seconds; on a map;
as a PDF; step by step; from historical data; with live prices; straight from the chat; through a simple question
"""
_STARTS = "Vel Nim Tor Kes Lum Bri Zan Fol Mar Qui Hex Dov Sal Pra Jun Wex Ild Ost Rho Cal Tib Gre Una Yor Ech"
_ENDS = "ora ix ium ado elle ique ant ova yx era ino ulo est ara on ity um ax ori ent ea us"
_PARAMETERS = "city date query language limit currency user_id format email start_time category budget url"
_TYPES = {"limit": "integer", "budget": "number"}


def compose_cards(count: int, *, taken: Collection[str] = (), seed: int = 0) -> list[ToolCard]:
    """So many cards, no two of one name or description, the same for the same seed.

    Args:
        count: How many.
        taken: Names that none of them may have.
        seed: Of the draws.
    """
    draw = random.Random(seed)
    things = [(field, thing) for field, things in FIELDS.items() for thing in _split(things, ",")]
    deeds = [(role, verb) for role, verbs in DEEDS.items() for verb in _split(verbs, ",")]
    starts, ends = _split(_STARTS, " "), _split(_ENDS, " ")
    whom, where, how = (_split(text, ";") for text in (WHOM, WHERE, HOW))
    cards: list[ToolCard] = []
    names, descriptions = set(taken), set[str]()
    while len(cards) < count:
        (field, thing), (role, verb) = draw.choice(things), draw.choice(deeds)
        second = draw.choice(_split(FIELDS[field], ","))
        objects = thing if second == thing else f"{thing} and {second}"
        details = [f"for {draw.choice(whom)}", draw.choice(where), draw.choice(how)]
        description = f"{verb} {objects} {' '.join(draw.sample(details, draw.choice((1, 2, 2, 3))))}."
        brand = draw.choice(starts) + draw.choice(ends) if draw.random() < 0.7 else field.title()
        name = brand + "".join(word.title() for word in thing.replace("-", " ").split()) + role
        if name in names or description in descriptions:
            continue
        names.add(name)
        descriptions.add(description)
        cards.append(ToolCard(name, description, _schema(draw)))
    return cards


def _schema(draw: random.Random) -> dict[str, object]:
    """Half of the cards have parameters: of one to three, as most functions have, and many have the same."""
    if draw.random() < 0.5:
        return {}
    chosen = sorted(draw.sample(_split(_PARAMETERS, " "), draw.choice((1, 2, 2, 3))))
    return {"type": "object", "properties": {key: {"type": _TYPES.get(key, "string")} for key in chosen}}


def _split(text: str, mark: str) -> list[str]:
    return [part.strip() for part in text.split(mark)]

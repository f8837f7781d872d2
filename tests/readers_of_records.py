"""Readers that know the records they are asked about: right, wrong, or right every other time."""


def right(record):
    return record.answers[0] if record.answers else None


def wrong(record):
    return "nothing of the sort"


def half(record):
    return right(record) if sum(record.id.encode()) % 2 else wrong(record)


def other_half(record):
    return wrong(record) if sum(record.id.encode()) % 2 else right(record)

"""Stand-in for the product's turn module: nobody else wants it."""


def take(reason):
    return None


def give_back():
    return None

"""Numbers of things in messages."""


def counted(count: int, noun: str) -> str:
    """How many there are, in words.

    Example:
        >>> counted(1, "column"), counted(3, "column"), counted(2, "class")
        ('1 column', '3 columns', '2 classes')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"

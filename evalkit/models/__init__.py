"""Whatever answers: a model in this process, recorded answers, a rule; and where weights come from.

Import from the modules: ``registry`` (names → folders), ``loading`` (``load_base``), ``local`` (``LocalModel``),
``replay``, ``echo``, ``base`` (the seam). Nothing is imported here, because half of them need torch.
"""

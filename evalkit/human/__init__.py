"""Human evaluation: sheets out, labels in.

``records`` is what comes back, ``questions`` what is asked, ``sampling`` and ``design`` who is shown what; one
module a format writes and reads the sheets, ``understand`` turns what came back into labels, and ``scores``,
``layer`` and ``preferences`` are what labels are used for.
"""

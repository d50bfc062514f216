"""Tables and charts as data, and what draws them: the HTML report and the terminal's tables."""

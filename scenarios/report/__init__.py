"""Pictures and words made from the records of a run.

- `picture`: what there is to see, as plain data: lanes, bars, arrows, sets over time.
- `drawing`: draws a picture from records, one after the other; `readers` and `set_bars`
  are parts of it, `bars` and `rows` say where something is, `words` what it is called.
- `window`: which records of a long run are drawn.
- `writer`: takes the records of a run, or of its log, and writes the file.
- `page`, `svg`, `perfetto` (with `protobuf`), `chrome_json`, `mermaid`,
  `lanes_as_text`: the formats; `times` says when, where steps are not enough.
- `inline`: the SVG inside somebody else's page.
- `proof`: the verdict on a log as a small proof in words.
- `causes`, `sentences`, `rules`: which records it is made from, what these say, and
  what each rule is for.
"""

"""Notes as hypothesis makes them."""

from hypothesis import strategies as st

from etude.adapters.annotations.notes import Note

names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
note = st.builds(
    lambda onset, length, pitch, technique, confidence: Note(onset, onset + length, pitch, technique, confidence=confidence),
    st.floats(0, 1000),
    st.floats(1e-6, 100),
    st.none() | st.integers(0, 127).map(float),
    st.none() | names,
    st.none() | st.floats(0, 1),
)

"""Notes by a decoder of frames, as the technique head puts them together."""

from etude.adapters.heads._parts.decoding import as_notes, decode_spans, likeliest_pitches, mean_probabilities


def decode(technique, onset, thresholds, decoder, rate, labels, *, pitch=None, lowest_pitch=0):
    spans = decode_spans(technique, onset, thresholds["technique"], thresholds["onset"], decoder)
    pitches = None if pitch is None else likeliest_pitches(spans, pitch, lowest_pitch)
    return as_notes(spans, mean_probabilities(spans, technique), rate, labels, pitches)

"""How well detections agree: with others', with a reference, with labels."""

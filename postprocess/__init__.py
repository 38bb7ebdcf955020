"""From the output tensors of a YOLO model to Detections.

`detect_head.recognise` reads the head from the outputs' shapes, `decoder.make_decoder` makes what
decodes it; `reference` defines what every decoder returns.
"""

"""Print what npud detects, with nothing but pyzmq and msgpack (docs/wire-format.md).

python examples/subscribe_plain.py [ENDPOINT]
"""

import sys

import msgpack
import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "ipc:///run/npud/detections"
SILENCE_MS = 5000  # a frame without objects is sent too, and a status every second

socket = zmq.Context.instance().socket(zmq.SUB)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.SUBSCRIBE, b"detections/")  # or b"detections/front" for one camera
socket.setsockopt(zmq.SUBSCRIBE, b"status/")  # has the labels
try:
    socket.connect(endpoint)
except zmq.ZMQError as error:
    sys.exit(f"error: cannot connect to {endpoint}: {error}")

labels = {}  # by (camera, model): another model has other labels
previous = {}  # by camera: (session, seq)
try:
    while True:
        if not socket.poll(SILENCE_MS):
            sys.exit(f"error: nothing from {endpoint} for {SILENCE_MS / 1000:g} s")
        topic, payload = socket.recv_multipart()
        message = msgpack.unpackb(payload)
        if message["v"] != 1:
            sys.exit(f"error: wire format version {message['v']}, expected 1")
        camera, session, seq = message["camera"], message["session"], message["seq"]
        if topic.startswith(b"status/"):
            labels[camera, message["model"]] = message["labels"]
            continue
        last_session, last_seq = previous.get(camera, (session, seq - 1))
        previous[camera] = session, seq
        if session == last_session and seq > last_seq + 1:  # another session is a restart
            print(f"{camera}: {seq - last_seq - 1} messages lost", file=sys.stderr)
        names = labels.get((camera, message["model"]))
        if names is None:
            continue  # the labels come within a second
        rows = zip(message["class_ids"], message["scores"], message["boxes"])
        for class_id, score, box in rows:
            label = names[class_id] if class_id < len(names) else f"class {class_id}"
            print(camera, label, f"{score:.2f}", [round(x) for x in box], flush=True)
except (KeyboardInterrupt, BrokenPipeError):
    pass

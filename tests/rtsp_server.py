"""A real RTSP server: GStreamer's, with `python3 tests/rtsp_server.py "( launch line )"` of the system.

Needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi.  Prints the port.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
for element in ("openh264enc", "rtph264pay", "videotestsrc"):
    if Gst.ElementFactory.find(element) is None:
        sys.exit(f"no element {element}")
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
media = GstRtspServer.RTSPMediaFactory()
media.set_launch(sys.argv[1])
server.get_mount_points().add_factory("/live", media)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()

// Print what npud detects, from Node.js (docs/wire-format.md).
//
//   npm install && node subscribe.mjs [ENDPOINT]

import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";

const endpoint = process.argv[2] ?? "ipc:///run/npud/detections";
const silenceMs = 5000; // a frame without objects is sent too, and a status every second

function fail(text) {
  console.error(`error: ${text}`);
  process.exit(1);
}

process.stdout.on("error", () => process.exit(0)); // whoever read our output has had enough

const socket = new Subscriber({ linger: 0, receiveTimeout: silenceMs });
socket.subscribe("detections/", "status/"); // status has the labels
try {
  socket.connect(endpoint);
} catch (error) {
  fail(`cannot connect to ${endpoint}: ${error.message}`);
}

const labels = new Map(); // by camera and model: another model has other labels
const previous = new Map(); // by camera: { session, seq }

while (true) {
  const [topic, payload] = await socket.receive().catch((error) =>
    fail(error.code === "EAGAIN" ? `nothing from ${endpoint} for ${silenceMs / 1000} s` : error)
  );
  // captured_ns and published_ns exceed 2^53: with useBigInt64 they come exact, as BigInt
  const message = decode(payload, { useBigInt64: true });
  if (message.v !== 1) fail(`wire format version ${message.v}, expected 1`);
  const { camera, session, seq } = message;
  const model = `${camera} ${message.model}`;
  if (topic.toString().startsWith("status/")) {
    labels.set(model, message.labels);
    continue;
  }
  const last = previous.get(camera);
  previous.set(camera, { session, seq });
  if (last?.session === session && seq > last.seq + 1) {
    console.error(`${camera}: ${seq - last.seq - 1} messages lost`); // another session is a restart
  }
  const names = labels.get(model);
  if (!names) continue; // the labels come within a second
  message.boxes.forEach((box, i) => {
    const id = message.class_ids[i];
    const label = names[id] ?? `class ${id}`;
    console.log(camera, label, message.scores[i].toFixed(2), box.map(Math.round));
  });
}

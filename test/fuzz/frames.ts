// The door of bytes to the HTTP/2 listener: frames of every kind with fields at their limits, floods, and noise.

import type { Random } from "../simulation/random.js";
import { type Door, shown, throwAt } from "./door.js";
import { damaged, randomBytes } from "./hostile.js";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** DATA to CONTINUATION, and one that nobody knows. */
const FRAME_TYPES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xee];
const PING = 6;
const SETTINGS = 4;
const HEADERS = 1;
const CONTINUATION = 9;
const RST_STREAM = 3;
const WINDOW_UPDATE = 8;
const END_HEADERS = 4;
const END_STREAM = 1;
const FLOOD = 2_000;

/** `:method POST`, `:scheme http`, `:path /`, as indexed fields, and an authority. */
const REQUEST = Buffer.from([0x83, 0x86, 0x84, 0x41, 0x01, 0x61]);

export const framesDoor: Door = {
  name: "HTTP/2 frames",
  who: "stranger",
  async volley(random, { listenPort }) {
    const pieces = [random.chance(0.95) ? PREFACE : damaged(random, PREFACE), ...story(random)];
    await throwAt(listenPort, pieces);
    return { what: shown(Buffer.concat(pieces)), accepted: false };
  },
};

function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array,
  length = payload.length,
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, payload]);
}

function story(random: Random): readonly Buffer[] {
  const settings = frame(SETTINGS, 0, 0, Buffer.alloc(0));
  const many = (make: (at: number) => Buffer): Buffer[] => [
    settings,
    Buffer.concat(Array.from({ length: FLOOD }, (_, at) => make(at))),
  ];
  switch (random.int(0, 9)) {
    case 0:
      return [randomBytes(random, 4_000)];
    case 1:
      return many(() => frame(PING, 0, 0, Buffer.alloc(8)));
    case 2:
      return many(() => frame(SETTINGS, 0, 0, anySettings(random)));
    case 3:
      // Streams opened and reset at once, over and over.
      return many((at) =>
        Buffer.concat([
          frame(HEADERS, END_HEADERS | END_STREAM, at * 2 + 1, REQUEST),
          frame(RST_STREAM, 0, at * 2 + 1, Buffer.from([0, 0, 0, 8])),
        ]),
      );
    case 4:
      // Headers that never end.
      return many((at) => frame(at === 0 ? HEADERS : CONTINUATION, 0, 1, randomBytes(random, 100)));
    case 5:
      return many(() => frame(WINDOW_UPDATE, 0, random.int(0, 3), Buffer.from([0x7f, 0xff, 0xff, 0xff])));
    case 6:
      // Requests without an end, as many as there may be streams, and more.
      return many((at) => frame(HEADERS, END_HEADERS, at * 2 + 1, REQUEST));
    case 7:
      return [settings, frame(HEADERS, END_HEADERS, 1, damaged(random, REQUEST)), ...someFrames(random)];
    default:
      return [settings, ...someFrames(random)];
  }
}

function someFrames(random: Random): readonly Buffer[] {
  return Array.from({ length: random.int(1, 20) }, () => {
    const payload = randomBytes(random, 200);
    const lie = random.chance(0.2) ? random.pick([0, 1, 16_384, 16_385, 2 ** 24 - 1]) : payload.length;
    const stream = random.pick([0, 1, 2, 3, 5, 2 ** 31 - 1, 2 ** 31]);
    return frame(random.pick(FRAME_TYPES), random.int(0, 256), stream, payload, lie);
  });
}

function anySettings(random: Random): Buffer {
  const settings = Buffer.alloc(6 * random.int(0, 4));
  for (let at = 0; at < settings.length; at += 6) {
    settings.writeUInt16BE(random.pick([1, 2, 3, 4, 5, 6, 8, 0xffff]), at);
    settings.writeUInt32BE(random.pick([0, 1, 16_384, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]), at + 2);
  }
  return settings;
}

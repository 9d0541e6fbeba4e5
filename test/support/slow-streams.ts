/** The same streams as nested loops. */
import type { DeviceAccess } from "../../src/access/batch.js";
import type { StreamDescription } from "../../src/access/streams.js";
import { Random } from "./random.js";

export function* slowStream(stream: StreamDescription): Generator<DeviceAccess, never> {
  const { base, bytes, write = false, device = 0 } = stream;
  const access = (iova: bigint): DeviceAccess => ({ iova, bytes, write, device });
  const step = BigInt(bytes);
  switch (stream.kind) {
    case "sequential":
      while (true) for (let at = 0n; at < stream.length; at += step) yield access(base + at);
    case "random": {
      const random = new Random(stream.seed);
      while (true) yield access(base + (((random.u64() >> 32n) * (stream.length / step)) >> 32n) * step);
    }
    case "interleaved": {
      const share = stream.length / BigInt(stream.queues);
      const at = new Array<bigint>(stream.queues).fill(0n);
      while (true) {
        for (let queue = 0; queue < stream.queues; queue++) {
          for (let i = 0; i < stream.burst; i++) {
            yield access(base + BigInt(queue) * share + at[queue]);
            at[queue] = (at[queue] + step) % share;
          }
        }
      }
    }
    case "ring":
      while (true) {
        for (let entry = 0; entry < stream.entries; entry++) {
          const { descriptorBytes, completionBytes } = stream;
          const descriptor = stream.descriptors + BigInt(entry * descriptorBytes);
          yield { iova: descriptor, bytes: descriptorBytes, write: false, device };
          for (let at = 0; at < stream.packetBytes; at += bytes) {
            const rest = Math.min(bytes, stream.packetBytes - at);
            yield { iova: base + BigInt(entry * stream.bufferBytes + at), bytes: rest, write, device };
          }
          const completion = stream.completions + BigInt(entry * completionBytes);
          yield { iova: completion, bytes: completionBytes, write: true, device };
        }
      }
    case "tiled":
      while (true) {
        for (let top = 0; top < stream.rows; top += stream.tileRows) {
          for (let left = 0; left < stream.pitch; left += stream.tileBytes) {
            for (let y = top; y < top + stream.tileRows; y++) {
              for (let x = left; x < left + stream.tileBytes; x += bytes) {
                yield access(base + BigInt(y * stream.pitch + x));
              }
            }
          }
        }
      }
  }
}

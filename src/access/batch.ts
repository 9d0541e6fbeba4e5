import * as layout from "../../assembly/layout.js";
import { Batch } from "../engine/batch.js";
import type { Engine } from "../engine/engine.js";

/** One access of a device: a transaction within one page. */
export interface DeviceAccess {
  readonly iova: bigint;
  /** 1 to 4096. */
  readonly bytes: number;
  readonly write: boolean;
  /** Index of the device in the simulator. */
  readonly device: number;
}

/**
 * Accesses: `iova` and `what` in; `physical` and `status` out, as those of a walk; the status of an IOTLB hit says nothing
 * but the size. Views are void after any call.
 */
export class AccessBatch extends Batch {
  constructor(engine: Engine, capacity: number) {
    super(engine.linear, capacity, 3);
  }

  get iova(): BigUint64Array {
    return this.linear.u64(this.column(0), this.capacity);
  }

  get physical(): BigUint64Array {
    return this.linear.u64(this.column(1), this.capacity);
  }

  /** Bytes, direction and device of each access: `encodeDeviceAccess`. */
  get what(): Uint32Array {
    return this.linear.u32(this.column(2), this.capacity);
  }

  set(index: number, access: DeviceAccess): void {
    this.iova[index] = access.iova;
    this.what[index] = encodeDeviceAccess(access);
  }

  get(index: number): DeviceAccess {
    const what = this.what[index];
    return {
      iova: this.iova[index],
      bytes: what & layout.ACCESS_BYTES_MASK,
      write: (what & layout.ACCESS_IS_WRITE) !== 0,
      device: what >>> layout.ACCESS_DEVICE_SHIFT,
    };
  }

  /** For use by streams and simulators: fills in the header and returns its linear address. */
  prepare(count: number): number {
    this.checkCount(count);
    const header: readonly [field: number, value: number][] = [
      [layout.ACCESS_BATCH_COUNT, count],
      [layout.ACCESS_BATCH_IOVA, this.column(0)],
      [layout.ACCESS_BATCH_PHYSICAL, this.column(1)],
      [layout.ACCESS_BATCH_WHAT, this.column(2)],
      [layout.ACCESS_BATCH_STATUS, this.column(3)],
    ];
    for (const [field, value] of header) this.linear.setU32(this.header + field, value);
    return this.header;
  }
}

/** Bytes, direction and device as the word that a batch holds. */
export function encodeDeviceAccess({ bytes, write, device }: Omit<DeviceAccess, "iova">): number {
  return (bytes | (write ? layout.ACCESS_IS_WRITE : 0) | (device << layout.ACCESS_DEVICE_SHIFT)) >>> 0;
}

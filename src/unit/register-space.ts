import { hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";

/** Where a register is, and what it holds after reset. */
export interface PlacedRegister {
  /** The specification's name, without what all registers of the unit have in common. */
  readonly name: string;
  /** Bytes from the unit's base address. */
  readonly offset: number;
  readonly width: 32 | 64;
  readonly reset: bigint;
  /** False: this unit lacks what the register is for, and its place is reserved. */
  readonly present: boolean;
}

/** How a register that is more than storage behaves. */
export interface RegisterBehaviour {
  /** What the register holds; default: what is stored. */
  readonly read?: () => bigint;
  /**
   * Software wrote it; default: it is stored. `value`: with the bits that a write replaces; `ones`: the bits that a one
   * clears to which a one was written.
   */
  readonly write?: (value: bigint, ones: bigint) => void;
  /** Takes over a value without anything that follows from it; default: it is stored. */
  readonly restore?: (value: bigint) => void;
}

const DWORD = 0xffff_ffffn;

/** The memory-mapped registers of a unit. A 64-bit access is two of 32 bits, the lower one first. */
export abstract class RegisterSpace<R extends PlacedRegister> {
  protected readonly stored = new Map<string, bigint>();
  private readonly byDword = new Map<number, R>();

  /**
   * @param registers every register, also those that this unit lacks
   * @param identification names of the registers that say which unit it is
   */
  constructor(
    readonly registers: readonly R[],
    private readonly identification: readonly string[],
  ) {
    for (const register of registers) {
      this.stored.set(register.name, register.present ? register.reset : 0n);
      if (!register.present) continue;
      for (let byte = 0; byte < register.width / 8; byte += 4) this.byDword.set(register.offset + byte, register);
    }
  }

  /** Bytes that the registers take. */
  protected abstract readonly bytes: number;

  protected abstract behaviour(name: string): RegisterBehaviour | undefined;

  /** Which bits of a register software cannot read, can replace now, and clears by writing a one. */
  protected abstract masks(register: R): { readonly hidden: bigint; readonly writable: bigint; readonly ones: bigint };

  /** Reads 32 bits; reserved places read as zero. Throws `misaligned`, or `invalid` outside the registers. */
  read32(offset: number): number {
    this.checkOffset("read", offset, 4);
    return Number(this.readDword(offset));
  }

  /** Reads 64 bits. Throws as `read32` does. */
  read64(offset: number): bigint {
    this.checkOffset("read", offset, 8);
    return this.readDword(offset) | (this.readDword(offset + 4) << 32n);
  }

  /**
   * Writes 32 bits, with everything that follows from it; reserved places ignore it. Throws `misaligned`, or `invalid`
   * outside the registers or for a value that is none.
   */
  write32(offset: number, value: number): void {
    this.checkOffset("write", offset, 4);
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
      throw new IommuError("invalid", `write ${value} to a register`, BigInt(offset), "not a 32-bit value");
    }
    this.writeDword(offset, BigInt(value));
  }

  /** Writes 64 bits. Throws as `write32` does. */
  write64(offset: number, value: bigint): void {
    this.checkOffset("write", offset, 8);
    if (BigInt.asUintN(64, value) !== value) {
      throw new IommuError("invalid", `write ${value} to a register`, BigInt(offset), "not a 64-bit value");
    }
    this.writeDword(offset, value & DWORD);
    this.writeDword(offset + 4, value >> 32n);
  }

  /** Takes over what `values` says of the registers that this unit has, all or nothing. */
  protected restoreRegisters(values: ReadonlyMap<string, bigint>): void {
    const checked = [...values].map(([name, value]) => [this.checkRestored(name, value), value] as const);
    for (const [{ name, present }, value] of checked) {
      if (!present) continue;
      const restore = this.behaviour(name)?.restore;
      if (restore) restore(value);
      else this.stored.set(name, value);
    }
  }

  protected storedValue(name: string): bigint {
    return this.stored.get(name) ?? 0n;
  }

  /** Whether any of these bits of a stored register is set. */
  protected isSet(name: string, bits: bigint): boolean {
    return (this.storedValue(name) & bits) !== 0n;
  }

  /** All bits of a register, also those that software cannot read. */
  private contents({ name }: R): bigint {
    return this.behaviour(name)?.read?.() ?? this.storedValue(name);
  }

  private readDword(offset: number): bigint {
    const register = this.byDword.get(offset);
    if (!register) return 0n;
    const value = this.contents(register) & ~this.masks(register).hidden;
    return (value >> BigInt(8 * (offset - register.offset))) & DWORD;
  }

  private writeDword(offset: number, value: bigint): void {
    const register = this.byDword.get(offset);
    if (!register) return;
    const shift = BigInt(8 * (offset - register.offset));
    const masks = this.masks(register);
    const writable = masks.writable & (DWORD << shift);
    const clearable = masks.ones & (DWORD << shift);
    if ((writable | clearable) === 0n) return;
    const written = value << shift;
    const next = (this.contents(register) & ~writable) | (written & writable);
    const ones = written & clearable;
    const write = this.behaviour(register.name)?.write;
    if (write) write(next, ones);
    else this.stored.set(register.name, next & ~ones);
  }

  private checkOffset(access: string, offset: number, size: number): void {
    const operation = `${access} ${8 * size} bits of a register`;
    if (!Number.isInteger(offset) || offset < 0 || offset + size > this.bytes) {
      const explanation = `the registers take ${hex(BigInt(this.bytes))} bytes`;
      throw new IommuError("invalid", `${operation} at offset ${offset}`, undefined, explanation);
    }
    if (offset % size !== 0) throw new IommuError("misaligned", operation, BigInt(offset), "not naturally aligned");
  }

  private checkRestored(name: string, value: bigint): R {
    const register = this.registers.find((candidate) => candidate.name === name);
    const operation = `restore ${name} = ${hex(value)}`;
    if (!register) throw new IommuError("invalid", operation, undefined, "no such register");
    const at = BigInt(register.offset);
    if (BigInt.asUintN(register.width, value) !== value) {
      throw new IommuError("invalid", operation, at, `it has ${register.width} bits`);
    }
    if (this.identification.includes(name) && value !== register.reset) {
      throw new IommuError("invalid", operation, at, `this unit has ${hex(register.reset)}`);
    }
    return register;
  }
}

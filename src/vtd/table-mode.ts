/** RTADDR_REG: Intel VT-d Architecture Specification Rev. 5.10, section 11.4.5. */

/** Translation Table Mode, bits 11:10. */
export const TTM = { LEGACY: 0, SCALABLE: 1, RESERVED: 2, ABORT_DMA: 3 } as const;

const TTM_SHIFT = 10n;

/** The translation table mode of a root table address. */
export function tableMode(rootTable: bigint): number {
  return Number((rootTable >> TTM_SHIFT) & 3n);
}

/** RTADDR_REG for a root table in this mode. */
export function rootTableAddress(table: bigint, mode: number): bigint {
  return table | (BigInt(mode) << TTM_SHIFT);
}

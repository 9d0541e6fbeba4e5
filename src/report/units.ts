/** Numbers as people read them. Counted figures stay exact; only the printed form is rounded. */

const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

/** Bytes with a binary unit, at most four digits: "320 KiB", "1.92 GiB". */
export function bytes(value: number): string {
  let unit = 0;
  let scaled = value;
  while (scaled >= 1024 && unit < BINARY_UNITS.length - 1) {
    scaled /= 1024;
    unit++;
  }
  return `${significant(scaled)} ${BINARY_UNITS[unit]}`;
}

/** At most four digits behind each other, whole numbers without a point: 20757, 864.3, 4.54, 0.0056. */
export function significant(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return String(Math.round(value));
  const digits = Math.abs(value) >= 100 ? 1 : Math.abs(value) >= 0.01 ? 2 : 4;
  return value.toFixed(digits);
}

/** A whole number with thousands separated by commas. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

/** A leaf size's short name, as in "4K" or "2M". */
export function sizeName(size: number): string {
  const units = ["", "K", "M", "G", "T"];
  let unit = 0;
  let scaled = size;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit++;
  }
  return `${scaled}${units[unit]}`;
}

/** A relative difference in percent, with its sign; nothing for none. */
export function percent(ratio: number | null): string {
  return ratio === null ? "" : `${ratio < 0 ? "" : "+"}${(ratio * 100).toFixed(1)} %`;
}

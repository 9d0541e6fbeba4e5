/** IOMMU groups: which devices share an IOVA space, and how their frees are flushed. */
import { PredictError } from "./errors.js";

export interface GroupMember {
  readonly group: number;
  readonly device: string;
  /** The group's `type` in sysfs: DMA (strict), DMA-FQ (lazy), identity, …; null when the text does not say. */
  readonly type: string | null;
  readonly driver: string | null;
}

// Of sysfs: `[…/iommu_groups/]GROUP/devices/DEVICE [TYPE [VENDOR DEVICE-ID [DRIVER]]]`.
const LINE = /^(?:\S*\/)?(\d+)\/devices\/(\S+)(?:\s+(\S+)(?:\s+0x\S+\s+0x\S+(?:\s+(\S+))?)?)?\s*$/;

/** Reads a list of groups, a device a line. @throws PredictError `groups` */
export function parseGroups(text: string, file: string): GroupMember[] {
  const members: GroupMember[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const found = LINE.exec(line);
    if (found === null) {
      throw new PredictError("groups", "not of the form GROUP/devices/DEVICE TYPE …", { file, line: index + 1 });
    }
    members.push({ group: Number(found[1]), device: found[2], type: found[3] ?? null, driver: found[4] ?? null });
  }
  return members;
}

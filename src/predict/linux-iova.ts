import type { LinuxIova, LinuxIovaOptions } from "../engine/linux-iova.js";

export type { LinuxIova, LinuxIovaOptions };

/** Makes an emulation of Linux's IOVA allocator; `release` gives back what it holds outside JavaScript. */
export type LinuxIovaFactory = (options: LinuxIovaOptions) => LinuxIova & { release?(): void };

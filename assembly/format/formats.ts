/**
 * Every page-table format, in one place. To add one: write its file, and add its line to `dispatch`.
 *
 * A format is an @unmanaged class without fields whose methods are inlined into the algorithms of assembly/table/, so
 * that the compiler makes one specialised copy of every algorithm per format.
 */
import { Granule16k, Granule4k, Granule64k, Vmsav8Stage1, Vmsav8Stage2 } from "./vmsav8";
import { VtdSecondStage } from "./vtdss";
import { X8664 } from "./x86_64";

/**
 * Runs the operation `Op`, a class with a generic method `run<F>`, for the format with this index; a negative result
 * for an index that no format has.
 */
// @ts-ignore: decorator
@inline
export function dispatch<Op>(format: u32, a: usize, b: usize, c: usize, d: usize): i32 {
  const op = changetype<Op>(0);
  switch (format) {
    case 0: return op.run<VtdSecondStage>(a, b, c, d);
    case 1: return op.run<X8664>(a, b, c, d);
    case 2: return op.run<Vmsav8Stage1<Granule4k>>(a, b, c, d);
    case 3: return op.run<Vmsav8Stage1<Granule16k>>(a, b, c, d);
    case 4: return op.run<Vmsav8Stage1<Granule64k>>(a, b, c, d);
    case 5: return op.run<Vmsav8Stage2<Granule4k>>(a, b, c, d);
    case 6: return op.run<Vmsav8Stage2<Granule16k>>(a, b, c, d);
    case 7: return op.run<Vmsav8Stage2<Granule64k>>(a, b, c, d);
    default: return -1;
  }
}

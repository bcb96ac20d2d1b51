// Types of simulator-bundle.mjs, for the tests of the simulator.

export function bundleSimulator(options: {
  /** A file of test/simulation. */
  entry: string;
  /** Its name among the caches of this package. */
  outfile: string;
  mutant?: { name: string; file: string; find: string; replace: string };
}): Promise<string>;

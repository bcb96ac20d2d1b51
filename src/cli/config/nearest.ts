// Finds what somebody may have meant who typed a word that nobody knows.

/** More than this many letters away, and it was another word. */
const FARTHEST = 3;

/** The known word with the fewest letters to change, add or remove; undefined when all are far away. */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  let nearest: { readonly word: string; readonly distance: number } | undefined;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance < (nearest?.distance ?? FARTHEST + 1)) nearest = { word: candidate, distance };
  }
  return nearest !== undefined && nearest.distance < nearest.word.length ? nearest.word : undefined;
}

function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const replaced = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}

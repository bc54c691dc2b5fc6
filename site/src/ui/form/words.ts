/** What the server found wrong, in the words of a form. */

/** Details that go on from the name of their field: "is taken". */
const GOES_ON = /^(is|are|must|has|have|cannot|may|names|needs|does|allows)\b/;

/** A whole sentence about a field, from its label and the server's detail. */
export function faultSentence(label: string, detail: string): string {
  return sentence(GOES_ON.test(detail) ? `${label} ${detail}` : detail);
}

export function sentence(words: string): string {
  const capital = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

export interface Fault {
  field: string;
  detail: string;
}

/** Sorts faults by the field that shows them; `others` have no field in this form. The first fault of a field counts. */
export function faultsByField<Name extends string>(
  faults: readonly Fault[],
  wireNames: Readonly<Record<string, Name>>,
): { fields: Map<Name, string>; others: string[] } {
  const fields = new Map<Name, string>();
  const others: string[] = [];
  for (const { field, detail } of faults) {
    const name = wireNames[field];
    if (name === undefined) others.push(sentence(detail));
    else if (!fields.has(name)) fields.set(name, detail);
  }
  return { fields, others };
}

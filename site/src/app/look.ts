export { type Look, lookRead, lookSave } from "../ui/look";

export { LeadContext } from "../ui/lead";

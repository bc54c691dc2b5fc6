import { SetupPage } from "../../features/setup/setup-page";
import { useGiven } from "../given";

export function SetUp() {
  const { code } = useGiven();
  return <SetupPage code={code ?? ""} />;
}

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { modelsQuery, providersQuery } from "../../api/queries";
import { paths } from "../../app/paths";
import { Banner } from "../../ui/banner";
import { missingModel, reasonWords } from "./missing-model";

/** What a person can do when there is no model that can be used: who may set one up sees the next step. */
export function MissingStep({ isOwner }: { isOwner: boolean }) {
  return isOwner ? <NextStep /> : <Reasons />;
}

function NextStep() {
  const providers = useQuery(providersQuery);
  const models = useQuery(modelsQuery);
  if (providers.data === undefined || models.data === undefined) return null;
  const missing = missingModel(providers.data, models.data);
  switch (missing.kind) {
    case "nothing":
      return null;
    case "provider":
      return <Step words="No model is set up yet." action="Add a provider" />;
    case "access": {
      const { name, display_name: shown } = missing.provider;
      const reason = models.data.providers.find((each) => each.name === name)?.unavailable_reason;
      const words = `${shown} ${reasonWords(reason ?? "missing_api_key")}.`;
      return <Step words={words} action={reason === "missing_base_url" ? "Add its address" : "Add its key"} />;
    }
    case "models":
      return <Step words={`${missing.provider.display_name} has no models yet.`} action="Add a model" />;
  }
}

function Step({ words, action }: { words: string; action: string }) {
  return (
    <Banner
      tone="warn"
      action={
        <Link className="underline" to={paths.setup}>
          {action}
        </Link>
      }
    >
      {words}
    </Banner>
  );
}

function Reasons() {
  const models = useQuery(modelsQuery);
  // without any model every type is listed, set up or not
  const told = (models.data?.providers ?? []).filter((each) => !each.available && each.models.length > 0);
  return (
    <Banner tone="warn">
      <p>No model is available. Ask an admin.</p>
      {told.map((each) => (
        <p key={each.name}>
          {each.display_name} {reasonWords(each.unavailable_reason)}.
        </p>
      ))}
    </Banner>
  );
}

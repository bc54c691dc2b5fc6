import { useNavigate, useSearch } from "@tanstack/react-router";
import { LoginPage } from "../../features/auth/login-page";
import { useGiven } from "../given";
import { safeNext } from "../paths";

export function Login() {
  const navigate = useNavigate();
  const { next } = useSearch({ strict: false });
  return <LoginPage given={useGiven()} onDone={() => void navigate({ to: safeNext(next) })} />;
}

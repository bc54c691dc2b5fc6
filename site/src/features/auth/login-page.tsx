import { LoginForm } from "./login-form";

export function LoginPage({ onDone }: { onDone: () => void }) {
  return (
    <main className="grid min-h-full place-items-center p-4">
      <div className="flex w-full max-w-sm flex-col gap-6 rounded-card border border-line bg-surface p-6">
        <div className="flex items-center gap-3">
          <img src="/favicon.svg" alt="" className="size-8" />
          <h1 className="text-xl font-semibold">Sign in to Atelier</h1>
        </div>
        <LoginForm onDone={onDone} />
      </div>
    </main>
  );
}

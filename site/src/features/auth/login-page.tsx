import { type GivenLogin, LoginForm } from "./login-form";

export function LoginPage({ given, onDone }: { given: GivenLogin; onDone: () => void }) {
  return (
    <main className="grid min-h-full place-items-center p-4">
      <div className="flex w-full max-w-sm flex-col gap-6 rounded-card border border-line bg-surface p-6">
        <div className="flex items-center gap-3">
          <img src="/favicon.svg" alt="" className="size-8" />
          <h1 className="text-xl font-semibold">Sign in to Atelier</h1>
        </div>
        <LoginForm given={given} onDone={onDone} />
      </div>
    </main>
  );
}

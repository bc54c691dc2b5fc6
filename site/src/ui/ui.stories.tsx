import { ApiFailure } from "../api/client";
import type { StorySet } from "../testing/story";
import { Banner, FailureBanner } from "./banner";
import { Button, IconButton } from "./button";
import { ConfirmDialog, Dialog } from "./dialog";
import { CheckField, TextArea, TextField } from "./field";
import { Menu, MenuItem, MenuLine } from "./menu";
import { Picker } from "./picker";
import { SelectField } from "./select-field";
import { Skeleton } from "./skeleton";
import { StatusIcon, statusName } from "./status";
import { toast } from "./toast";

const nothing = () => undefined;

const box = (element: Element) => element.getBoundingClientRect();

export default {
  title: "Parts",
  stories: {
    buttons: {
      render: () => (
        <div className="flex flex-wrap gap-2">
          <Button>Plain</Button>
          <Button tone="primary">Primary</Button>
          <Button tone="quiet">Quiet</Button>
          <Button tone="danger">Danger</Button>
          <Button small>Small</Button>
          <Button disabledReason="The provider has no key">Off</Button>
          <IconButton label="Close">×</IconButton>
        </div>
      ),
      play: async ({ expect, page }) => {
        const off = page.getByRole("button", { name: "Off" });
        await expect.element(off).toBeDisabled();
        await expect.element(off).toHaveAttribute("title", "The provider has no key");
      },
    },
    banners: {
      render: () => (
        <div className="flex flex-col gap-2">
          <Banner tone="info">The demo runs here.</Banner>
          <Banner tone="warn" action={<Button small>Add one</Button>}>
            No model is set up yet.
          </Banner>
          <Banner tone="bad">The chat cannot be loaded.</Banner>
          <FailureBanner failure={new ApiFailure(409, { code: "queue_full", message: "20 messages wait already." })} />
          <FailureBanner failure={new ApiFailure(null, {})} />
        </div>
      ),
      play: async ({ expect, page }) => expect.element(page.getByText("queue_full", { exact: false })).toBeVisible(),
    },
    fields: {
      render: () => (
        <div className="flex flex-col gap-3">
          <TextField label="Name" hint="Small letters" value="ada" onChange={nothing} />
          <TextField label="Email" error="Email is taken." value="ada@example.com" onChange={nothing} />
          <TextArea label="Instructions" value="Be short." onChange={nothing} />
          <SelectField
            label="Type"
            value="b"
            onChange={nothing}
            choices={[
              { value: "a", label: "First" },
              { value: "b", label: "Second" },
            ]}
          />
          <CheckField label="Enabled" checked onChange={nothing} />
        </div>
      ),
      play: async ({ expect, page }) => {
        await expect.element(page.getByRole("textbox", { name: "Email" })).toBeInvalid();
        await expect.element(page.getByRole("textbox", { name: "Name" })).toHaveAccessibleDescription("Small letters");
      },
    },
    statuses: {
      render: () => (
        <ul className="flex flex-col gap-1">
          {["waiting", "pending", "running", "error", "requires_action", "paused", "completed", "unheard-of"].map(
            (status) => (
              <li key={status} className="flex items-center gap-2">
                <StatusIcon status={status} /> {statusName(status)}
              </li>
            ),
          )}
        </ul>
      ),
    },
    skeleton: { render: () => <Skeleton lines={4} /> },
    dialog: {
      render: () => (
        <Dialog title="Sign in again" onClose={nothing}>
          <TextField label="Password" type="password" value="" onChange={nothing} />
        </Dialog>
      ),
      play: async ({ expect, page }) =>
        expect.element(page.getByRole("dialog", { name: "Sign in again" })).toBeVisible(),
    },
    "confirm dialog": {
      render: () => (
        <ConfirmDialog title="Delete Anthropic?" onClose={nothing} action={<Button tone="danger">Delete</Button>}>
          Its models go too.
        </ConfirmDialog>
      ),
      play: async ({ expect, page }) =>
        expect.element(page.getByRole("alertdialog", { name: "Delete Anthropic?" })).toBeVisible(),
    },
    "T22: what lies over the page moves nothing": {
      height: 400,
      render: () => (
        <div className="flex flex-col gap-4">
          <p data-still>A line that stays where it is.</p>
          <Menu trigger={<Button>More</Button>}>
            <MenuItem onSelect={nothing}>Rename</MenuItem>
            <MenuLine />
            <MenuItem onSelect={nothing}>Archive</MenuItem>
          </Menu>
          <Picker
            label="Model"
            placeholder="Model"
            value="a"
            onChange={nothing}
            groups={[
              {
                label: "Ours",
                items: Array.from({ length: 30 }, (_, at) => ({ value: `m${at}`, label: `Model ${at}` })),
              },
            ]}
          />
          <Button onClick={() => toast("Archived", { label: "Undo", run: nothing })}>Tell</Button>
          <p data-still>Another one below.</p>
        </div>
      ),
      play: async ({ expect, page, userEvent, element }) => {
        const still = [...element.querySelectorAll("[data-still]")];
        const places = () => still.map((each) => [box(each).top, box(each).left, box(each).width]);
        const before = places();
        await page.getByRole("button", { name: "More" }).click();
        await expect.element(page.getByRole("menuitem", { name: "Rename" })).toBeVisible();
        expect(places()).toEqual(before);
        await userEvent.keyboard("{Escape}");
        await page.getByRole("combobox", { name: /^Model/ }).click();
        await expect.element(page.getByRole("option", { name: "Model 3", exact: true })).toBeVisible();
        expect(places()).toEqual(before);
        await userEvent.keyboard("{Escape}");
        await page.getByRole("button", { name: "Tell" }).click();
        await expect.element(page.getByRole("button", { name: "Undo" })).toBeVisible();
        expect(places()).toEqual(before);
        await page.getByRole("button", { name: "Undo" }).click();
        await expect.element(page.getByRole("button", { name: "Undo" })).not.toBeInTheDocument();
      },
    },
  },
} satisfies StorySet;

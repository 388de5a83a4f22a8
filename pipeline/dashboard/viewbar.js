// How heatmaps are shown, on all pictures of a page; the browser remembers it.
export default {
  template: `
    <fieldset class="viewbar">
      <legend class="sr-only">Heatmap</legend>
      <span aria-hidden="true">Heatmap</span>
      <label v-for="[value, text] in modes" :key="value" class="choice" :class="{ chosen: mode === value }">
        <input type="radio" name="heat" :value="value" :checked="mode === value" @change="set({ mode: value })">{{ text }}
      </label>
      <label class="opacity">opacity
        <input type="range" min="0.1" max="1" step="0.05" :value="opacity" :disabled="mode !== 'heatmap'"
               @input="set({ opacity: Number($event.target.value) })">
      </label>
    </fieldset>`,
  data: () => ({ mode: "heatmap", opacity: 0.6, modes: [["heatmap", "colours"], ["outline", "outline only"], ["off", "off"]] }),
  mounted() {
    this.unwatch = taktline.watchView((view) => Object.assign(this, { mode: view.mode, opacity: view.opacity }));
  },
  unmounted() {
    this.unwatch();
  },
  methods: {
    set: (change) => taktline.setView(change),
  },
};

// What is wrong with a line, in words; reloads the page when the line has other cameras than it was built for.
export default {
  template: `
    <div class="troubles" :data-line="line">
      <p v-for="([severe, text], i) in troubles" :key="i" class="trouble" :class="{ severe }" role="alert">
        <b>{{ line }}</b> <span>{{ text }}</span>
      </p>
    </div>`,
  props: { k: String, line: String, cameras: Array },
  data: () => ({ troubles: [] }),
  mounted() {
    this.leave = taktline.take(this.k, (data) => {
      this.troubles = data.troubles;
      if (data.cameras.length && data.cameras.join() !== this.cameras.join()) location.reload();
    });
  },
  unmounted() {
    this.leave();
  },
};

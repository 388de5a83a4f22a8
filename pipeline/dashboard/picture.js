// A picture with its heatmap and regions: off, heatmap with a chosen opacity, or outline only.
export default {
  template: `
    <figure class="picture" :data-mode="mode" :data-part="pic && pic.sequence">
      <div class="frame" :style="{ aspectRatio: ratio }">
        <img v-if="pic && pic.url" :src="pic.url" :alt="'the newest picture of ' + label" @load="loaded" draggable="false">
        <p v-else class="no-picture">{{ none }}</p>
        <canvas ref="heat" class="heat" v-show="mode === 'heatmap' && pic && pic.grid" :style="{ opacity }"></canvas>
        <svg v-if="path && mode !== 'off'" class="outline" preserveAspectRatio="none"
             :viewBox="'0 0 ' + pic.grid.w + ' ' + pic.grid.h" aria-hidden="true">
          <path class="halo" :d="path"/><path class="edge" :d="path"/>
        </svg>
        <svg v-if="pic && mode !== 'off' && pic.regions.length && size" class="regions" preserveAspectRatio="none"
             :viewBox="'0 0 ' + size[0] + ' ' + size[1]" aria-hidden="true">
          <rect v-for="(r, i) in pic.regions" :key="i" class="halo" :x="r[0]" :y="r[1]" :width="r[2]" :height="r[3]"/>
          <rect v-for="(r, i) in pic.regions" :key="'e' + i" class="edge" :x="r[0]" :y="r[1]" :width="r[2]" :height="r[3]"/>
        </svg>
      </div>
      <figcaption>
        <span class="legend" :class="{ plain: !pic || !pic.grid }" :title="'the calibrated scale, the same for every part'">
          <span class="legend-low">{{ low }}</span>
          <span class="legend-bar" :style="{ background: gradient }"></span>
          <span class="legend-high">{{ high }}</span>
        </span>
        <span class="caption">{{ pic ? pic.caption : '' }}</span>
      </figcaption>
    </figure>`,
  props: { k: String, label: String, none: String, scale: String, fixed: Object },
  data: () => ({ pic: null, path: "", mode: "heatmap", opacity: 0.6, natural: null }),
  computed: {
    size() {
      return this.pic?.size ?? this.natural;
    },
    ratio() {
      return this.size ? `${this.size[0]} / ${this.size[1]}` : "1";
    },
    colours() {
      return taktline.bytes(this.scale);
    },
    gradient() {
      const stops = [];
      for (let i = 0; i < 256; i += 15) {
        const [r, g, b, a] = this.colours.subarray(4 * i, 4 * i + 4);
        stops.push(`rgba(${r},${g},${b},${(a / 255).toFixed(2)})`);
      }
      return `linear-gradient(90deg, ${stops.join(",")})`;
    },
    low() {
      return this.pic?.grid ? `${this.pic.grid.low} σ` : "";
    },
    high() {
      return this.pic?.grid ? `${this.pic.grid.high} σ` : "no heatmap";
    },
  },
  mounted() {
    this.leave = taktline.take(this.k, (data) => data.pic !== undefined && this.show(data.pic));
    this.unwatch = taktline.watchView((view) => {
      this.mode = view.mode;
      this.opacity = view.opacity;
    });
    if (this.fixed) this.show(this.fixed);
  },
  unmounted() {
    this.leave();
    this.unwatch();
  },
  methods: {
    // Loads one picture at a time and then the newest, so that a slow browser asks for no more than it can show.
    show(pic) {
      this.next = pic;
      if (!this.loading) this.load();
    },
    load() {
      const pic = this.next;
      this.next = undefined;
      if (pic === undefined) return;
      if (!pic?.url || pic.url === this.pic?.url) return this.put(pic);
      this.loading = true;
      const image = new Image();
      image.onload = image.onerror = (event) => {
        this.loading = false;
        if (event.type === "load") this.put(pic);
        else if (!this.pic) this.put({ ...pic, url: null });
        this.load();
      };
      image.src = pic.url;
    },
    put(pic) {
      this.pic = pic;
      // Only a bad part has regions; a good one stays plain.
      this.path = pic?.grid && pic.regions.length ? taktline.outline(pic.grid, pic.grid.edge) : "";
      if (pic?.grid) this.$nextTick(() => taktline.paint(this.$refs.heat, pic.grid, this.colours));
    },
    loaded(event) {
      this.natural = [event.target.naturalWidth, event.target.naturalHeight];
    },
  },
};

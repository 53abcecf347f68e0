// Search in pages that are opened as files: there a browser starts no worker, so the worker's script
// runs in a hidden frame, and messages between it and the page are events. The worker's script knows
// such frames by the name IFrameWorker, and asks for the scripts of Japanese with importScripts.
//
// On every page: words of katakana are written together, so one is looked for within others too. A "*" before
// it lets ネットワーク find ニューラルネットワーク; the theme puts one behind it.
const QUERY = 2; // the type of the worker's messages that hold what was typed
const within = (message) => (message.type === QUERY
  ? { ...message, data: message.data.replace(/(^|\s)(?=[ァ-ヶ])/g, "$1*") } : message);
const { postMessage } = window.Worker.prototype;
window.Worker.prototype.postMessage = function (message, ...others) {
  return postMessage.call(this, within(message), ...others);
};
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = []; // messages for a script that is still being read
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      this.inner = frame.contentWindow;
      this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const load = (src) => new Promise((resolve, reject) => {
        const script = frame.contentDocument.createElement("script");
        Object.assign(script, { src, onload: resolve, onerror: () => reject(new Error(`not found: ${src}`)) });
        frame.contentDocument.body.append(script);
      });
      this.inner.importScripts = async (...addresses) => {
        for (const src of addresses) await load(src); // one after another: each uses those before it
      };
      load(address).then(() => {
        const waiting = this.waiting;
        this.waiting = null;
        waiting.forEach((data) => this.send(data));
      });
    }
    postMessage(message) {
      const data = within(message);
      if (this.waiting) this.waiting.push(data);
      else this.send(data);
    }
    send(data) {
      this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data }));
    }
    terminate() {}
  };
  window.IFrameWorker = window.Worker;
}

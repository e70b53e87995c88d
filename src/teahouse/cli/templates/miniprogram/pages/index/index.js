const { teahouse } = getApp();

Page({
  data: { sales: [], message: "" },

  onShow() {
    return this.refresh();
  },

  async onPullDownRefresh() {
    await this.refresh();
    wx.stopPullDownRefresh();
  },

  async refresh() {
    try {
      const { items } = await teahouse.sales();
      const sales = items.map((sale) => ({ ...sale, yuan: (sale.price / 100).toFixed(2) }));
      this.setData({ sales, message: sales.length ? "" : "还没有活动 · No sale yet" });
    } catch (error) {
      this.setData({ message: error.message });
    }
  },

  async buy(event) {
    const { sale } = event.currentTarget.dataset;
    wx.showLoading({ title: "抢购中…", mask: true });
    try {
      const order = await teahouse.purchase(sale, 1);
      this.setData({ message: `已抢到 · Yours until ${order.payBefore}: order ${order.orderId}` });
    } catch (error) {
      this.setData({ message: error.message });
    } finally {
      wx.hideLoading();
    }
    await this.refresh();
  },
});

// A few thousand mixed operations by mongosh: a client nobody here wrote. Run by tests/support/load.py.
const shop = db.getSiblingDB(process.env.LOAD_DATABASE);
let state = Number(process.env.LOAD_SEED);
const dice = (n) => {
  state = (state * 1103515245 + 12345) % 2147483648;
  return state % n;
};
// What a server rightly refuses when dice choose the operation; anything else ends the load.
const refusals = /conflict|duplicate|must be an array|Cannot create field|PathNotViable|non-array|TypeMismatch/i;

const operations = [
  (c, id, i) => c.updateOne({ _id: id }, { $set: { name: "n" + i, "address.city": "c" + i }, $inc: { n: 1 } }, { upsert: true }),
  (c, id, i) => c.updateOne({ _id: id }, { $set: { name: "m" + i, "address.zip": Long.fromNumber(i) } }, { upsert: true }),
  (c, id, i) => c.updateOne({ _id: id }, { $set: { at: new Date(), nothing: null } }, { upsert: true }),
  (c, id, i) => c.replaceOne({ _id: id }, { name: "r" + i, tags: [i, i + 1], n: Long.fromNumber(i) }, { upsert: true }),
  (c, id, i) => c.deleteOne({ _id: id }),
  (c, id, i) => c.updateOne({ _id: id }, { $push: { tags: { $each: [i, i + 1], $slice: -5 } } }, { upsert: true }),
  (c, id, i) => c.updateOne({ _id: id }, { $pull: { tags: { $gt: i / 2 } } }),
  (c, id, i) => c.updateOne({ _id: id }, [{ $set: { tags: { $slice: [{ $ifNull: ["$tags", []] }, 2] }, last: "$n" } }]),
  (c, id, i) => c.updateOne({ _id: id }, { $unset: { name: 1 }, $set: { ["k" + dice(3)]: { x: NumberDecimal("1." + i) } } }),
  (c, id, i) => c.updateMany({ _id: { $lt: 5 } }, { $inc: { many: 1 } }),
  (c, id, i) =>
    c.bulkWrite([
      { insertOne: { document: { _id: "b" + i, d: new Date(), nul: null, nan: NaN } } },
      { updateOne: { filter: { _id: "b" + i }, update: { $set: { "deep.er.still": [1, [2, { x: i }]] } } } },
      { deleteOne: { filter: { _id: "b" + (i - 50) } } },
    ]),
  (c, id, i) => c.findOneAndUpdate({ _id: id }, { $rename: { n: "m" + dice(2) } }),
  (c, id, i) => c.updateOne({ _id: id }, [{ $replaceWith: { $setField: { field: "x.y", input: "$$ROOT", value: i } } }]),
  (c, id, i) => {
    const session = db.getMongo().startSession();
    const inside = session.getDatabase(shop.getName());
    session.startTransaction();
    inside.users.updateOne({ _id: id }, { $inc: { t: 1 } }, { upsert: true });
    inside.orders.updateOne({ _id: id }, { $inc: { t: 1 } }, { upsert: true });
    inside.users.updateOne({ _id: id }, { $set: { t2: i } });
    if (dice(5)) session.commitTransaction();
    else session.abortTransaction();
    session.endSession();
  },
];

for (let i = 0; i < Number(process.env.LOAD_OPERATIONS); i++) {
  const id = dice(60);
  const collection = shop[["users", "orders", "a.b"][dice(3)]];
  try {
    operations[dice(operations.length)](collection, id, i);
  } catch (error) {
    if (!refusals.test(`${error.message} ${error.codeName}`)) throw error;
  }
}
